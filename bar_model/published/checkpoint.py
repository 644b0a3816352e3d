"""Published checkpoints, read and written: recognised by their keys and shapes, checked completely, never unpickled."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bar_model.errors import BadInput, interpreting, one_line
from bar_model.generator.bar import Bar, BarConfig
from bar_model.presets import GENERATORS
from bar_model.published.generator_names import export_generator, import_generator, published_generator_shapes
from bar_model.published.state_dict import require_shapes, tensor_shapes, usable_weight
from bar_model.published.tokenizer_names import (
    export_tokenizer,
    import_tokenizer,
    is_tokenizer,
    published_tokenizer_shapes,
)
from bar_model.tokenizer.tokenizer import Tokenizer

_BEFORE_ARCHIVES = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files begin with that `torch.save` wrote before PyTorch 1.6."""


def read_published(file: Path) -> dict[str, Tensor]:
    """The state dict of a `.bin` file in float32, without unpickling anything but tensors.

    A safetensors file is read by its content, whatever its name.

    Raises:
        BadInput: the file is damaged, or holds something other than named tensors of finite fractions.
    """
    state = _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)
    if not isinstance(state, dict) or not state or not all(isinstance(key, str) for key in state):
        raise BadInput(f"{file}: holds something other than named tensors, so it is no published checkpoint")
    within = [key for key, value in state.items() if isinstance(value, dict)]
    if within:
        raise BadInput(f"{file}: holds tensors within {', '.join(within[:4])}: store the right one of these by itself")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{file}: holds something other than named tensors, so it is no published checkpoint")
    return {key: usable_weight(key, tensor, file) for key, tensor in state.items()}


def import_published(state: Mapping[str, Tensor], config: BarConfig | None = None) -> Bar | Tokenizer:
    """The model of a published state dict.

    The configuration of a tokenizer follows from its shapes. That of a generator is the preset with the same keys and
    shapes, unless `config` is given.

    Raises:
        BadInput: keys are missing, unexpected or of another shape than in the nearest configuration; it names them.
    """
    if is_tokenizer(state):
        published = import_tokenizer(state)
        with torch.device("meta"):
            tokenizer = Tokenizer(published.config)
        tokenizer.load_state_dict(published.weights, assign=True)
        return tokenizer
    name, config = ("the given configuration", config) if config else _nearest_preset(state)
    with torch.device("meta"):
        model = Bar(config)
    require_shapes(tensor_shapes(state), published_generator_shapes(config), name)
    model.load_state_dict(import_generator(state, config), assign=True)
    return model


def export_published(model: Bar | Tokenizer, frozen: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The published state dict of a model: the one that `import_published` would read, bit for bit.

    That of a tokenizer also holds SigLIP 2, which our tokenizer does not store. `frozen` is the SigLIP 2 of the file
    that the tokenizer came from (`import_tokenizer(…).frozen`), or `siglip_as_published` of SigLIP 2's own weights.

    Raises:
        BadInput: a tokenizer without `frozen`, or with one that does not fit it.
    """
    if isinstance(model, Bar):
        return export_generator(model.state_dict(), model.config)
    if frozen is None:
        raise BadInput("a published tokenizer holds SigLIP 2 too: give its weights as `frozen`")
    published = export_tokenizer(model.state_dict(), frozen)
    require_shapes(tensor_shapes(published), published_tokenizer_shapes(model.config), "the published format")
    return published


def write_published(model: Bar | Tokenizer, file: Path, frozen: Mapping[str, Tensor] | None = None) -> None:
    """Write what `export_published` gives as a `.bin` file, whole or not at all.

    Raises:
        BadInput: a tokenizer without `frozen`, or with one that does not fit it.
    """
    state = export_published(model, frozen)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        torch.save(state, draft)
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)


def _is_safetensors(file: Path) -> bool:
    """Whether a file begins as a safetensors file does, whatever its name: with the length of a header of JSON."""
    with file.open("rb") as opened:
        start = opened.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= file.stat().st_size


def _read_safetensors(file: Path) -> Any:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise BadInput(f"{file}: is a damaged safetensors file ({error}); copy or download it again") from error


def _read_torch(file: Path) -> Any:
    """What `torch.save` wrote, as it writes today (a zip archive) or as it did before PyTorch 1.6."""
    with interpreting(f"{file}: is no PyTorch file", "download it again"):
        is_archive = zipfile.is_zipfile(file)
    with file.open("rb") as opened:
        is_old = opened.read(len(_BEFORE_ARCHIVES)) == _BEFORE_ARCHIVES
    if not is_archive and not is_old:
        raise BadInput(f"{file}: is no PyTorch file, or only a part of one; download it again")
    try:
        if is_archive:
            _check_archive(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)
    except BadInput:
        raise
    except pickle.UnpicklingError as error:
        raise BadInput(f"{file}: is no PyTorch state dict (it holds objects, which are not unpickled)") from error
    except Exception as error:  # The reader of archives raises errors of many kinds.
        raise BadInput(f"{file}: is no PyTorch state dict ({one_line(error)[:200]})") from error


def _check_archive(file: Path) -> None:
    """Compares an archive's records with their checksums, which PyTorch does not do where it maps a file."""
    with zipfile.ZipFile(file) as archive:
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise BadInput(f"{file}: is a compressed archive, as torch.save writes none")
        damaged = archive.testzip()
    if damaged is not None:
        raise BadInput(f"{file}: is damaged ({damaged} is not what its checksum says); download it again")


def _nearest_preset(state: Mapping[str, Tensor]) -> tuple[str, BarConfig]:
    """The preset that shares the most parameters (names and shapes) with this state dict."""
    shapes = set(tensor_shapes(state).items())

    def shared(config: BarConfig) -> int:
        return len(shapes & set(published_generator_shapes(config).items()))

    presets = {name: preset() for name, preset in GENERATORS.items()}
    name, nearest = max(presets.items(), key=lambda item: shared(item[1]))
    if not shared(nearest):
        raise BadInput(
            f"holds no parameter of a published generator or tokenizer (but {next(iter(state))}, …): give a published "
            ".bin file, or the whole folder of a model that was trained here"
        )
    return f"{name}, the nearest", nearest
