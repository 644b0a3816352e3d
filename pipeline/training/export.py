"""A model out of a checkpoint of its training, such as the one with the least validation loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from bar_model.checkpoint import Model
from bar_model.configuration import from_dict
from bar_model.errors import BadInput, interpreting
from bar_model.generator.bar import Bar, BarConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.execution.manifest import STAGE_FILE, claimed_configuration
from pipeline.paths import InputUrl, OutputFolder
from pipeline.storage import Folder, local_copy
from pipeline.training.checkpoints.listing import FOLDER, CheckpointEntry, listed_in
from pipeline.training.checkpoints.state import check_state, load_state, shapes_of
from pipeline.training.learners import generator, tokenizer
from pipeline.training.output import GENERATOR_STAGE, TOKENIZER_STAGE, save_model


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which checkpoint becomes a model."""

    out: Annotated[InputUrl, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Output folder of a training, of any URL."""
    to: OutputFolder
    """Folder for the model."""
    which: str = "best"
    """`best`: of those that are kept, the one with the least validation loss; `newest`; or a checkpoint's name."""


def export_model(config: ExportConfig) -> str:
    """Writes the model of a checkpoint into a new folder, and returns the checkpoint's name.

    Raises:
        BadInput: the folder is there already, there is no such training or checkpoint, or the checkpoint is damaged.
    """
    target = Folder(config.to)
    if target.exists():
        raise BadInput(f"{target} is there already: name a new folder")
    model, name = read_model(Folder(config.out), config.which)
    save_model(model, target, below="")
    return name


def read_model(out: Folder, which: str) -> tuple[Model, str]:
    """The model of a checkpoint, its average where there is one, and the checkpoint's name.

    Raises:
        BadInput: there is no such training or checkpoint, or the checkpoint is damaged.
    """
    model, trainee = _empty_model(out)
    name = _chosen(out, which)
    url = (out / FOLDER).path(name)
    check_state(Folder(url), contents=True)
    folder = local_copy(url)
    weights = model.state_dict()
    average = any(each.startswith(f"{trainee}/average/") for each in shapes_of(folder))
    prefix = f"{trainee}/{'average' if average else 'model'}"
    load_state(folder, {f"{prefix}/{each}": tensor for each, tensor in weights.items()}, all_of_it=False)
    return model, name


def _empty_model(out: Folder) -> tuple[Model, str]:
    """A model of the size that the training in the folder has, and the name of its trainee."""
    with interpreting(f"{out.path(STAGE_FILE)} describes no model", "restore it"):
        if (found := claimed_configuration(out, GENERATOR_STAGE)) is not None:
            return Bar(from_dict(BarConfig, found["model"])), generator.TRAINEE
        if (found := claimed_configuration(out, TOKENIZER_STAGE)) is not None:
            return Tokenizer(from_dict(TokenizerConfig, found["model"])), tokenizer.TRAINEE
    raise BadInput(f"{out} is no output folder of a training: give the --out of one")


def _chosen(out: Folder, which: str) -> str:
    """The name of the checkpoint that `which` means."""
    there = set((out / FOLDER).folders()) if (out / FOLDER).exists() else set()
    entries = [each for each in listed_in(out) if each.name in there]
    scored = sorted((each for each in entries if each.score is not None), key=lambda each: each.score or 0.0)
    by_name = [each for each in entries if each.name == which]
    candidates = {"best": scored[:1], "newest": entries[-1:]}.get(which, by_name)
    if not candidates:
        raise BadInput(f"{out} {_lacking(which, entries)}")
    return candidates[0].name


def _lacking(which: str, entries: Sequence[CheckpointEntry]) -> str:
    """Why there is no such checkpoint, and what to name instead."""
    if not entries:
        return "has no checkpoint: they come with --cadence.checkpoint-every, and the finished model lies below model/"
    if which == "best":
        return f"has no validated checkpoint, so none is the best: name --which newest, or one of {_names(entries)}"
    return f"has no checkpoint {which}: name newest, or one of {_names(entries)}"


def _names(entries: Sequence[CheckpointEntry]) -> str:
    """The names with their scores, as a text."""
    with_scores = (each.name + ("" if each.score is None else f" ({each.score:.4g})") for each in entries)
    return ", ".join(with_scores) or "none"
