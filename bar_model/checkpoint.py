"""Models on disk: a folder of `config.json` and `model.safetensors`, or a published checkpoint."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bar_model.configuration import from_json, json_file
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.published.checkpoint import import_published, read_published
from bar_model.published.state_dict import require_shapes, tensor_shapes, usable_weight
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig

Model = Bar | Tokenizer
ModelConfig = BarConfig | TokenizerConfig

_FORMAT = 1
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_KINDS: dict[str, tuple[type[Model], type[ModelConfig]]] = {
    "bar": (Bar, BarConfig),
    "tokenizer": (Tokenizer, TokenizerConfig),
}


def save(model: Model, folder: Path) -> None:
    """Write the model as a new folder, whole or not at all.

    Raises:
        BadInput: the folder exists.
    """
    if folder.exists():
        raise BadInput(f"{folder}: is there already; models are never overwritten")
    kind = next(name for name, (cls, _) in _KINDS.items() if isinstance(model, cls))
    record = {"format": _FORMAT, "kind": kind, "config": dataclasses.asdict(model.config)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / _CONFIG).write_bytes(json_file(record, indent=2))
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, draft / _WEIGHTS)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft)
        raise


def load(path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """The model in a folder that `save` wrote, or in a published checkpoint (a `.bin` file), ready for use.

    Raises:
        BadInput: there is no such file, it is no checkpoint, or its parameters do not fit its configuration.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    return (_load_folder(path) if path.is_dir() else _load_file(path)).to(device).eval()


def load_bar(path: str | Path, *, device: str | torch.device = "cpu") -> Bar:
    """The generator in a folder or file that `load` reads.

    Raises:
        BadInput: as `load`, or the model is not a generator.
    """
    model = load(path, device=device)
    if not isinstance(model, Bar):
        raise BadInput(f"{path}: holds a tokenizer; give a generator")
    return model


def load_tokenizer(path: str | Path, *, device: str | torch.device = "cpu", decode_only: bool = False) -> Tokenizer:
    """The tokenizer in a folder or file that `load` reads; `decode_only` spends nothing on its encoder.

    Raises:
        BadInput: as `load`, or the model is not a tokenizer.
    """
    path = Path(path)
    model = _load_folder(path, decode_only=decode_only) if path.is_dir() else load(path)
    if not isinstance(model, Tokenizer):
        raise BadInput(f"{path}: holds a generator; give a tokenizer")
    if decode_only and not model.only_decodes:
        del model.encoder
    return model.to(device).eval()


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 of the names and values of all parameters, equal on every device.

    Raises:
        ValueError: the model is a tokenizer without its encoder.
    """
    if isinstance(model, Tokenizer) and model.only_decodes:
        raise ValueError("a tokenizer without its encoder: take fingerprint_of the file")
    return _digest(model.state_dict())


def fingerprint_of(path: str | Path) -> str:
    """The `fingerprint` of the model at `path`; a model folder is not built for it.

    Raises:
        BadInput: as `load`.
    """
    path = Path(path)
    return _digest(_read_folder(path)[1]) if path.is_dir() else fingerprint(load(path))


def _digest(parameters: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(parameters.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _load_file(file: Path) -> Model:
    state = read_published(file)
    try:
        return import_published(state)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error


def _load_folder(folder: Path, *, decode_only: bool = False) -> Model:
    config, weights = _read_folder(folder, leave_out="encoder." if decode_only else None)
    # Built without memory for its own weights, which those of the file replace.
    with torch.device("meta"):
        model = Bar(config) if isinstance(config, BarConfig) else Tokenizer(config, decode_only=decode_only)
    try:
        require_shapes(tensor_shapes(weights), tensor_shapes(model.state_dict()), _CONFIG)
    except BadInput as error:
        raise BadInput(f"{folder / _WEIGHTS}: {error}") from error
    model.load_state_dict(weights, assign=True)
    return model


def _read_folder(folder: Path, leave_out: str | None = None) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and weights in float32; weights whose names begin with `leave_out` are not read."""
    config_file, weights_file = folder / _CONFIG, folder / _WEIGHTS
    for file in (config_file, weights_file):
        if not file.is_file():
            raise BadInput(f"{folder}: holds no {file.name}, so it is no model folder")
    config = _read_config(config_file)
    try:
        with safe_open(weights_file, "pt") as file:
            names = file.keys()
            kept = [name for name in names if leave_out is None or not name.startswith(leave_out)]
            return config, {name: usable_weight(name, file.get_tensor(name), weights_file) for name in kept}
    except SafetensorError as error:
        if zipfile.is_zipfile(weights_file):
            raise BadInput(f"{weights_file}: is a PyTorch file: store it by safetensors.torch.save_file") from error
        raise BadInput(f"{weights_file}: damaged ({error}); copy or train it again") from error


def _read_config(file: Path) -> ModelConfig:
    try:
        record = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: is no model's configuration ({error})") from error
    if not isinstance(record, dict) or not {"format", "kind", "config"} <= record.keys():
        raise BadInput(f"{file}: is no model's configuration (an object with format, kind and config is expected)")
    if record["format"] != _FORMAT:
        raise BadInput(f"{file}: format {record['format']!r}, but this version reads {_FORMAT}")
    if record["kind"] not in [*_KINDS]:
        raise BadInput(f"{file}: kind {record['kind']!r} is none of {', '.join(_KINDS)}")
    return from_json(_KINDS[record["kind"]][1], record["config"], str(file))
