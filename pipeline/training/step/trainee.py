"""A training step in PyTorch alone: a model in training takes micro-batches, changes its weights and sums its losses.

The loss of a step is the sum of `total` over all of its micro-batches and ranks, divided by the sum of `weight`. So it
is the same for any number of workers. Nothing here waits for the device before `Trainee.report`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bar_model.torch_private import scale_next_step
from pipeline.training.step.average import Average
from pipeline.training.step.fsdp import shard, whole, whole_tensor
from pipeline.training.step.optimizer import (
    OptimizationConfig,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)
from pipeline.training.step.ranks import Ranks

Precision = Literal["float32", "bfloat16"]


class LossSums(NamedTuple):
    """An objective's sums over a micro-batch: the weighted loss to minimise, its weight, and sums for metrics."""

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    parts: Float[Tensor, " parts"]


class StepResult(NamedTuple):
    """The result of a step, on the device: nothing has waited for it."""

    finite: Bool[Tensor, ""]
    """Whether loss and gradient were finite; if not, the step was skipped and the weights did not change."""
    loss: Float[Tensor, ""]


class Objective(nn.Module, ABC):
    """A loss that a trainee minimises. It registers the trained parameters; frozen networks need not be registered."""

    num_parts: int
    """Length of `LossSums.parts`."""
    entry = "forward"
    """Name of the model's method that `forward` calls: FSDP gathers the weights for it."""

    # Its arguments are what `Learner.micro_batch` returns.
    forward: Callable[..., LossSums]

    def begin_step(self) -> None:
        """Called before the first micro-batch of each step; does nothing by default."""

    @abstractmethod
    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        """Metrics from the sums of weights and of `parts` over some steps."""


class Trainee:
    """A model in training: its objective, its optimizer, and the average of its weights where there is one."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        objective: Objective,
        config: OptimizationConfig,
        *,
        steps: range,
        horizon: int | None = None,
        ranks: Ranks,
        precision: Precision,
        sharded: bool = False,
        learning_rate_factor: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        """A trainee before its first step; all ranks have to call it together.

        Its schedule stretches over `steps` of the run; shares are those of the steps before `horizon` (None: of all).
        With `sharded`, each rank holds a part of the model (FSDP), else all of it (DDP). `learning_rate_factor` gives a
        parameter's factor of the learning rate by its name.
        """
        self.name = name
        self.model = model
        self.objective = objective
        self.num_updates = 0
        self.average = None if config.average is None else Average(model, config.average)
        self._config = config
        self._steps = steps
        self._shares_of = (steps.stop if horizon is None else horizon) - steps.start
        self._ranks = ranks
        self._precision: Precision = precision
        self._device = next(model.parameters()).device
        if sharded and ranks.num > 1:
            for each in self.models():
                shard(each, entry=objective.entry)
        self._optimizer = make_optimizer(parameter_groups(model, config, learning_rate_factor), config)
        self._parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        self._reducing = (
            DistributedDataParallel(objective, forward_sync_buffers=False, gradient_as_bucket_view=True)
            if ranks.num > 1 and not sharded
            else None
        )
        # Sums over the steps since the last report, without skipped ones: total, weight, gradient norm, steps, parts.
        self._sums = torch.zeros(4 + objective.num_parts, device=self._device)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate in a step of the run."""
        return self._config.learning_rate_at(step - self._steps.start, self._shares_of, end=len(self._steps))

    def learn(self, micro_batches: Iterable[Sequence[Any]], *, num: int, step: int) -> StepResult:
        """Takes an optimizer step over the `num` micro-batches of this rank and those of all other ranks."""
        self.model.train()
        self.objective.begin_step()
        sums = self._accumulate(micro_batches, num)
        # DDP and FSDP average gradients over the ranks, where the sum is needed.
        scale = self._ranks.num / sums[1]
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = whole_tensor(torch.nn.utils.get_total_norm(gradients)) * scale
        finite = norm.isfinite() & sums[0].isfinite()
        set_learning_rate(self._optimizer, self.learning_rate_at(step))
        longest = self._config.max_gradient_norm or math.inf
        clipping = (norm / longest).clamp(min=1) / scale
        scale_next_step(self._optimizer, divisor=clipping, skip=(~finite).float())
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.num_updates += 1
        if self.average is not None:
            self.average.update(self.model, self.num_updates, finite)
        found = torch.cat((sums[:2], torch.stack((norm, torch.ones_like(norm))), sums[2:]))
        self._sums += torch.where(finite, found, torch.zeros_like(found))
        return StepResult(finite, sums[0] / sums[1])

    def rehearse(self, micro_batch: Sequence[Any]) -> None:
        """Makes DDP choose the order in which it adds up gradients, by a backward pass without any other effect.

        DDP chooses the order in the first pass of a process. Without this, the first step of a resumed run would add in
        another order than the same step of an undisturbed run, and differ in the last bit.
        """
        if self._reducing is not None:
            self.try_out(micro_batch)

    def try_out(self, micro_batch: Sequence[Any]) -> None:
        """Runs a micro-batch forward and backward without changing weights; all ranks have to call it together."""
        self._accumulate([micro_batch], 1)
        self._optimizer.zero_grad(set_to_none=True)

    def report(self) -> dict[str, float]:
        """Means over the steps since the last report, without skipped ones; empty where there were none.

        It waits for the device.
        """
        total, weight, norm, steps, *parts = self._sums.tolist()
        self._sums.zero_()
        if steps == 0:
            return {}
        return {"loss": total / weight, "gradient_norm": norm / steps, **self.objective.metrics(weight, parts)}

    def models(self) -> Iterator[nn.Module]:
        """The modules that hold weights: the model, and the average where there is one."""
        yield self.model
        if self.average is not None:
            yield self.average.model

    def evaluated(self) -> nn.Module:
        """The model that is validated and saved: the average where there is one.

        It has all of its weights on every rank, so all ranks have to call it together.
        """
        return whole(self.model if self.average is None else self.average.model)

    def state_dict(self) -> dict[str, Tensor]:
        """All that a step changes, except `num_updates`: the tensors themselves, not copies, for a checkpoint."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        state = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for parameter, kept in self._optimizer.state.items():
            state |= {f"optimizer/{names[parameter]}/{name}": tensor for name, tensor in kept.items()}
        if self.average is not None:
            state |= {f"average/{name}": tensor for name, tensor in self.average.model.state_dict().items()}
        return {**state, "sums": self._sums}

    def _accumulate(self, micro_batches: Iterable[Sequence[Any]], num: int) -> Float[Tensor, " sums"]:
        """Adds up the gradients of all micro-batches; returns total, weight and parts, summed over all ranks."""
        sums = torch.zeros(2 + self.objective.num_parts, device=self._device)
        for index, micro_batch in enumerate(micro_batches):
            with self._exchange(last=index == num - 1):
                with autocast(self._device, self._precision):
                    total, weight, parts = (self._reducing or self.objective)(*micro_batch)
                total.backward()
            sums += torch.cat((torch.stack((total.detach(), weight.detach())), parts.detach()))
        return self._ranks.sum(sums)

    def _exchange(self, *, last: bool) -> AbstractContextManager[None]:
        """Lets DDP exchange gradients in the last backward pass of a step only; FSDP exchanges in each pass."""
        return nullcontext() if last or self._reducing is None else self._reducing.no_sync()


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which matrix products are computed in this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seeds torch's own generator as a function of seed, step and rank, so that no checkpoint has to keep its state."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
