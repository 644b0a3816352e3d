"""The weights that a training begins with: drawn from its seed, or those of a model that was trained before."""

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

from bar_model import checkpoint
from bar_model.checkpoint import Model
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.storage import local_copy
from pipeline.tracking.run import Run
from pipeline.training.step.fsdp import whole_tensor

_BY_CLASS = "transformer.class_embedding.weight"
"""The one parameter with a row for each class; the dropped class's is the last."""


def load_initial(url: str, config: BarConfig | TokenizerConfig) -> Model:
    """The model at a URL, as the one to begin with.

    Raises:
        BadInput: its parameters are not those of `config`; only the number of classes may differ.
    """
    initial = checkpoint.load(local_copy(url))
    with torch.device("meta"):
        wanted = _shapes(Bar(config) if isinstance(config, BarConfig) else Tokenizer(config))
    given = _shapes(initial)
    for name in sorted(wanted | given):
        here, there = wanted.get(name, ()), given.get(name, ())
        if here != there and not (name == _BY_CLASS and here[1:] == there[1:]):
            raise BadInput(
                f"init: {url} has {name} of shape {there}, but this model has {here}: "
                "choose the preset that it was trained with, or another model"
            )
    return initial


def start_from(model: nn.Module, initial: Model) -> None:
    """Copies the weights of `initial` into a model.

    Where the number of classes differs, the classes' vectors stay as they were drawn, except the dropped class's.
    """
    drawn, state = model.state_dict(), initial.state_dict()
    if _BY_CLASS in state and len(state[_BY_CLASS]) != len(drawn[_BY_CLASS]):
        state[_BY_CLASS] = torch.cat((whole_tensor(drawn[_BY_CLASS])[:-1].cpu(), state[_BY_CLASS][-1:]))
    set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True))


def new_classes(initial: Model, config: BarConfig | TokenizerConfig) -> int:
    """The number of classes that are learned anew: all of them where the initial model has another number, else 0."""
    if not isinstance(initial, Bar) or not isinstance(config, BarConfig):
        return 0
    return 0 if initial.config.num_classes == config.num_classes else config.num_classes


def announce_initial(url: str, config: BarConfig | TokenizerConfig, run: Run | None) -> str:
    """Prints which weights are taken from the model at a URL, names it as the run's input, and returns its fingerprint.

    Raises:
        BadInput: as `load_initial`.
    """
    initial = load_initial(url, config)
    fingerprint = checkpoint.fingerprint(initial)
    num_new = new_classes(initial, config)
    new = f"the vectors of {num_new:,} classes are drawn anew, all other weights" if num_new else "all weights"
    print(f"{url}: {new} are taken from this model", flush=True)
    if run is not None:
        run.input("init", url, fingerprint)
    return fingerprint


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
