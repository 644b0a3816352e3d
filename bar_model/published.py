"""Published checkpoints: told apart by their keys and shapes, checked to the last one, never unpickled."""

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bar_model.bar import Bar, BarConfig
from bar_model.errors import BadInput
from bar_model.presets import GENERATORS
from bar_model.published_generator import export_generator, import_generator, published_shapes
from bar_model.published_tokenizer import import_tokenizer, is_tokenizer
from bar_model.tokenizer import Tokenizer

Shapes = dict[str, tuple[int, ...]]

_NAMED_AT_MOST = 4


def read_published(file: Path) -> dict[str, Tensor]:
    """The state dict of a `.bin` file, without unpickling anything but tensors.

    Raises:
        BadInput: it is no such file.
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

    A tokenizer's configuration follows from its shapes. A generator is the preset whose keys and shapes it has, unless
    `config` says what it is.

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
    _check(_shapes(state), published_shapes(config), name)
    model.load_state_dict(import_generator(state, config), assign=True)
    return model


def export_published(model: Bar) -> dict[str, Tensor]:
    """The published state dict of a model: what `import_published` was given, bit for bit."""
    return export_generator(model.state_dict(), model.config)


def _nearest_preset(state: Mapping[str, Tensor]) -> tuple[str, BarConfig]:
    """The preset that shares the most parameters (names and shapes) with this state dict."""
    shapes = set(_shapes(state).items())

    def shared(config: BarConfig) -> int:
        return len(shapes & set(published_shapes(config).items()))

    presets = {name: preset() for name, preset in GENERATORS.items()}
    return max(presets.items(), key=lambda item: shared(item[1]))


def _shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _check(found: Shapes, expected: Shapes, name: str) -> None:
    wrong = {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "of another shape": {
            f"{key} {found[key]} instead of {expected[key]}"
            for key in found.keys() & expected.keys()
            if found[key] != expected[key]
        },
    }
    problems = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in wrong.items() if keys]
    if problems:
        raise BadInput(f"checkpoint does not fit {name}, the nearest: " + "; ".join(problems))


def _some(keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    return ", ".join(ordered[:_NAMED_AT_MOST]) + (", …" if len(ordered) > _NAMED_AT_MOST else "")
