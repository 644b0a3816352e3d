"""How weights are learned: AdamW and its parameter groups, schedules as fractions of the run, averaged weights.

The defaults are the published recipe of the generator (docs/method.md, section 5). Schedules are plain functions of the
number of steps already done and of all steps, so that a short run follows the same curve.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import nn

from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.published.generator_names import published_name
from bar_model.ranges import Range, Share, ShareBelowOne, Weight, check_ranges

# What the published recipe spares from weight decay, by the published name, beside every 1-D parameter. "ln" is part of
# "adaLN" too, and "embed" of `output_embed` and `t_embedder`: about a third of all weights.
_SPARED_IN_LOWER_CASE = ("norm", "ln", "embed")
_SPARED = ("bias",)


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """AdamW, warmed up linearly and then as the schedule says."""

    schedule: Literal["cosine", "constant", "warmup-stable-decay"] = "cosine"
    """After the warm-up: a cosine down to the end, as published; or constant, to the end or to a last fall. Trainings
    of the latter two can be extended by more steps."""
    decay: Share = 0.1
    """Share of the run in which warmup-stable-decay falls to the end, in a line."""
    learning_rate: Annotated[float, Range(above=0)]
    """At the end of the warm-up."""
    final_learning_rate: Annotated[float, Range(above=0)] = 1e-5
    """At the end of the run, except where it is constant."""
    warmup: Share = 0.25
    """Share of the run in which the learning rate rises from 0."""
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.96)
    weight_decay: Weight = 0.03
    decayed: Literal["published", "matrices"] = "published"
    """What is decayed: as published, or the usual rule, every matrix but embeddings."""
    max_gradient_norm: Weight = 1.0
    """A longer gradient is cut to this length; 0 cuts none."""
    average: Annotated[float, Range(above=0, below=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then validated and saved (else: no average)."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.schedule == "warmup-stable-decay" and self.warmup + self.decay > 1:
            raise BadInput(f"warmup {self.warmup} and decay {self.decay}: must not be more than the whole run together")
        if self.schedule != "constant" and self.final_learning_rate > self.learning_rate:
            raise BadInput(
                f"final_learning_rate {self.final_learning_rate}: must not be above learning_rate {self.learning_rate}"
            )

    def recipe(self) -> dict[str, Any]:
        """All fields as JSON values, without those of schedules that are not chosen."""
        unused = {"cosine": ("schedule", "decay"), "constant": ("decay",), "warmup-stable-decay": ()}[self.schedule]
        return {name: value for name, value in plain(self).items() if name not in unused}

    def learning_rate_at(self, step: int, num_steps: int, *, end: int | None = None) -> float:
        """The learning rate of the step that comes after `step` others, in a run of `num_steps`.

        A run that was extended ends after `end` steps instead, but its shares stay those of `num_steps`.
        """
        warmup_steps = self.warmup * num_steps
        if step < warmup_steps:
            return self.learning_rate * step / warmup_steps
        if self.schedule != "cosine":
            falling = self.decay * num_steps if self.schedule == "warmup-stable-decay" else 0.0
            left = (num_steps if end is None else end) - step
            height = min(1.0, left / falling) if falling else 1.0
            return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * height
        progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
        fall = (self.learning_rate - self.final_learning_rate) * (1 + math.cos(math.pi * min(progress, 1))) / 2
        return self.final_learning_rate + fall


def parameter_groups(
    model: nn.Module, config: OptimizationConfig, learning_rate_factor: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """Groups of the trained parameters with the same weight decay and the same factor of the learning rate.

    AdamW ignores the key `learning_rate_factor` of a group; `set_learning_rate` reads it.
    """
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if config.decayed == "published":
            spared = _published_spares(name, parameter)
        else:
            spared = parameter.ndim < 2 or id(parameter) in embeddings
        decay, factor = 0.0 if spared else config.weight_decay, learning_rate_factor(name)
        group = {"params": [], "weight_decay": decay, "learning_rate_factor": factor}
        groups.setdefault((decay, factor), group)["params"].append(parameter)
    return list(groups.values())


def make_optimizer(groups: list[dict[str, Any]], config: OptimizationConfig) -> torch.optim.AdamW:
    """A fused AdamW, so that `scale_next_step` can scale or skip its step on the device (see trainee.py).

    Its state, which AdamW would make in its first step, is there at once: a checkpoint can be loaded into it.
    """
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        moments = {name: torch.zeros_like(parameter, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of the next step, times each group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["learning_rate_factor"]


def _published_spares(name: str, parameter: nn.Parameter) -> bool:
    published = published_name(name)
    return (
        parameter.ndim < 2
        or any(part in published.lower() for part in _SPARED_IN_LOWER_CASE)
        or any(part in published for part in _SPARED)
    )
