"""Models on disk: `config.json` and `model.safetensors` in one folder."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from bar_model.bar import Bar, BarConfig
from bar_model.configuration import from_dict
from bar_model.errors import BadInput
from bar_model.published import import_published, read_published
from bar_model.tokenizer import Tokenizer, TokenizerConfig

Model = Bar | Tokenizer

_FORMAT = 1
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_KINDS: dict[str, tuple[type[Bar], type[BarConfig]] | tuple[type[Tokenizer], type[TokenizerConfig]]] = {
    "bar": (Bar, BarConfig),
    "tokenizer": (Tokenizer, TokenizerConfig),
}


def save(model: Model, folder: Path) -> None:
    """Write the model as a new folder, whole or not at all.

    Raises:
        BadInput: the folder is there already.
    """
    if folder.exists():
        raise BadInput(f"{folder}: is there already; models are never overwritten")
    kind = next(name for name, (cls, _) in _KINDS.items() if isinstance(model, cls))
    record = {"format": _FORMAT, "kind": kind, "config": dataclasses.asdict(model.config)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / _CONFIG).write_text(json.dumps(record, indent=2) + "\n")
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, draft / _WEIGHTS)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft)
        raise


def load(path: str | Path, *, device: str | torch.device = "cpu") -> Model:
    """The model in a folder that `save` wrote, or in a published checkpoint (a `.bin` file), ready to be used.

    Raises:
        BadInput: no such file, not a checkpoint, or one whose parameters do not fit its configuration.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    model = _load_folder(path) if path.is_dir() else import_published(read_published(path))
    return model.to(device).eval()


def load_bar(path: str | Path, *, device: str | torch.device = "cpu") -> Bar:
    """`load`, for a generator.  Raises: BadInput where it is none."""
    model = load(path, device=device)
    if not isinstance(model, Bar):
        raise BadInput(f"{path}: holds a tokenizer; a generator is wanted here")
    return model


def load_tokenizer(path: str | Path, *, device: str | torch.device = "cpu") -> Tokenizer:
    """`load`, for a tokenizer.  Raises: BadInput where it is none."""
    model = load(path, device=device)
    if not isinstance(model, Tokenizer):
        raise BadInput(f"{path}: holds a generator; a tokenizer is wanted here")
    return model


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits of SHA-256 over the names and values of all parameters: the same wherever it is loaded."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _load_folder(folder: Path) -> Model:
    config_file, weights_file = folder / _CONFIG, folder / _WEIGHTS
    for file in (config_file, weights_file):
        if not file.is_file():
            raise BadInput(f"{folder}: holds no {file.name}, so it is no model folder")
    try:
        record = json.loads(config_file.read_text())
        if record["format"] != _FORMAT:
            raise BadInput(f"{config_file}: format {record['format']}, but this version reads {_FORMAT}")
        model_class, config_class = _KINDS[record["kind"]]
        weights = load_file(weights_file)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(f"{config_file}: is no model's configuration ({error})") from error
    except SafetensorError as error:
        raise BadInput(f"{weights_file}: damaged ({error}); copy or train it again") from error
    # Built without memory for its own weights, which those of the file replace.
    with torch.device("meta"):
        model = model_class(from_dict(config_class, record["config"], str(config_file)))  # pyright: ignore[reportArgumentType]
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise BadInput(f"{weights_file}: does not fit {config_file.name}: {error}".replace("\n", " ")) from error
    return model
