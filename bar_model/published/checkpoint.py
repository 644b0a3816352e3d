"""Published checkpoints, read and written: recognised by their keys and shapes, checked completely, never unpickled."""

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.presets import GENERATORS
from bar_model.published.generator_names import export_generator, import_generator, published_generator_shapes
from bar_model.published.state_dict import require_shapes, tensor_shapes
from bar_model.published.tokenizer_names import (
    export_tokenizer,
    import_tokenizer,
    is_tokenizer,
    published_tokenizer_shapes,
)
from bar_model.tokenizer.tokenizer import Tokenizer


def read_published(file: Path) -> dict[str, Tensor]:
    """The state dict of a `.bin` file, without unpickling anything but tensors.

    Raises:
        BadInput: the file is damaged, or holds something other than named tensors.
    """
    if not zipfile.is_zipfile(file):
        raise BadInput(f"{file}: is no PyTorch file, or only a part of one; download it again")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(f"{file}: is no PyTorch state dict ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{file}: holds something other than named tensors, so it is no published checkpoint")
    return state


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


def _nearest_preset(state: Mapping[str, Tensor]) -> tuple[str, BarConfig]:
    """The preset that shares the most parameters (names and shapes) with this state dict."""
    shapes = set(tensor_shapes(state).items())

    def shared(config: BarConfig) -> int:
        return len(shapes & set(published_generator_shapes(config).items()))

    presets = {name: preset() for name, preset in GENERATORS.items()}
    return max(presets.items(), key=lambda item: shared(item[1]))
