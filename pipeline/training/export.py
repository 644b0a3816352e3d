"""A model out of a checkpoint of its training, such as the one with the least validation loss.

python -m pipeline.training.export OUT --to MODEL    of the training in OUT; --which newest, or a name
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from bar_model.checkpoint import Model
from bar_model.configuration import from_dict
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.command.job import run_module
from pipeline.execution.manifest import claimed_configuration
from pipeline.storage import Folder, local_copy
from pipeline.training.checkpoints.listing import FOLDER, Listed, listed_in
from pipeline.training.checkpoints.state import check_state, load_state, shapes_of
from pipeline.training.learners import generator, tokenizer
from pipeline.training.output import GENERATOR_STAGE, TOKENIZER_STAGE, save_model


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which checkpoint becomes a model."""

    out: tyro.conf.Positional[str]
    """Output folder of a training, of any URL."""
    to: str
    """Folder for the model."""
    which: str = "best"
    """`best`: of those that are kept, the one with the least validation loss; `newest`; or a checkpoint's name."""


def read_model(out: Folder, which: str) -> tuple[Model, str]:
    """The weights that count, the average where there is one, and the checkpoint's name.

    Raises:
        BadInput: no such training or checkpoint, or it is damaged.
    """
    model, player = _empty_model(out)
    name = _chosen(out, which)
    url = (out / FOLDER).path(name)
    check_state(Folder(url), contents=True)
    folder = local_copy(url)
    weights = model.state_dict()
    average = any(each.startswith(f"{player}/average/") for each in shapes_of(folder))
    prefix = f"{player}/{'average' if average else 'model'}"
    load_state(folder, {f"{prefix}/{each}": tensor for each, tensor in weights.items()}, all_of_it=False)
    return model, name


def _empty_model(out: Folder) -> tuple[Model, str]:
    """As the training that claimed the folder has it, and the name of its player."""
    if (found := claimed_configuration(out, GENERATOR_STAGE)) is not None:
        return Bar(from_dict(BarConfig, found["model"])), generator.PLAYER
    if (found := claimed_configuration(out, TOKENIZER_STAGE)) is not None:
        return Tokenizer(from_dict(TokenizerConfig, found["model"])), tokenizer.PLAYER
    raise BadInput(f"{out} is no training's output folder: give the --out of one")


def _chosen(out: Folder, which: str) -> str:
    there = set((out / FOLDER).folders()) if (out / FOLDER).exists() else set()
    listed = [each for each in listed_in(out) if each.name in there]
    scored = sorted((each for each in listed if each.score is not None), key=lambda each: each.score or 0.0)
    candidates = {"best": scored[:1], "newest": listed[-1:]}.get(which, [each for each in listed if each.name == which])
    if not candidates:
        raise BadInput(f"{out} has no checkpoint {which}: there are {_told(listed)}")
    return candidates[0].name


def _told(listed: Sequence[Listed]) -> str:
    with_scores = (each.name + ("" if each.score is None else f" ({each.score:.4g})") for each in listed)
    return ", ".join(with_scores) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return run_module(_export, ExportConfig, arguments)


def _export(config: ExportConfig) -> None:
    target = Folder(config.to)
    if target.exists():
        raise BadInput(f"{target} is there already: name a new folder")
    model, name = read_model(Folder(config.out), config.which)
    save_model(model, target, below="")
    print(f"{target}: the model of {name}")


if __name__ == "__main__":
    sys.exit(main())
