"""Where a training begins: at weights drawn from its seed, or at those of a model that was trained before."""

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

from bar_model import checkpoint
from bar_model.checkpoint import Model
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.storage import local_copy
from pipeline.training.step.fsdp import whole_tensor

_BY_CLASS = "transformer.class_embedding.weight"
"""The one parameter with a row for each class; the dropped class's is the last."""


def load_initial(url: str, config: BarConfig | TokenizerConfig) -> Model:
    """The model to begin with.

    Raises:
        BadInput: its parameters are not those of `config`; the number of classes alone may differ.
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
    """Take over the weights; the vectors of other classes stay as they were drawn, but for the dropped class's."""
    drawn, state = model.state_dict(), initial.state_dict()
    if _BY_CLASS in state and len(state[_BY_CLASS]) != len(drawn[_BY_CLASS]):
        state[_BY_CLASS] = torch.cat((whole_tensor(drawn[_BY_CLASS])[:-1].cpu(), state[_BY_CLASS][-1:]))
    set_model_state_dict(model, state, options=StateDictOptions(full_state_dict=True))


def new_classes(initial: Model, config: BarConfig | TokenizerConfig) -> int:
    """How many classes have to be learned anew: all, where the model to begin with has another number of them."""
    if not isinstance(initial, Bar) or not isinstance(config, BarConfig):
        return 0
    return 0 if initial.config.num_classes == config.num_classes else config.num_classes


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
