"""A training step, which knows nothing of Ray or MLflow: micro-batches in, weights changed, sums out.

The loss of a step is the sum of `total` over all of its micro-batches and ranks, divided by the sum of `weight`, so it
is the same for any number of workers. Nothing here waits for the device until `Player.report` is asked.
"""

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
from pipeline.training.step.fsdp import shard, whole, whole_tensor
from pipeline.training.step.optimizer import (
    Average,
    OptimizationConfig,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)
from pipeline.training.step.ranks import Ranks

Precision = Literal["float32", "bfloat16"]


class Tally(NamedTuple):
    """What an objective finds in a micro-batch: a weighted sum to be made small, its weight, and sums for metrics."""

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    parts: Float[Tensor, " parts"]


class Step(NamedTuple):
    """What is known of a step without waiting for the device."""

    finite: Bool[Tensor, ""]
    """Whether loss and gradient were: where not, the weights stayed as they were."""
    loss: Float[Tensor, ""]


class Objective(nn.Module, ABC):
    """What a player makes small. Its trained parameters are registered; frozen networks that it asks need not be."""

    num_parts: int
    """Length of `Tally.parts`."""
    entry = "forward"
    """The method of its model that `forward` calls."""

    # Called with the learner's micro-batches, whatever they are.
    forward: Callable[..., Tally]

    def begin_step(self) -> None:
        """Before the first micro-batch of each step."""

    @abstractmethod
    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        """What the sums over some steps say."""


class Player:
    """A model in training: its objective, its optimizer, and the average of its weights where there is one."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        objective: Objective,
        config: OptimizationConfig,
        *,
        steps: range,
        ranks: Ranks,
        precision: Precision,
        sharded: bool = False,
        learning_rate_factor: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        """`steps` are those of the run over which its schedule stretches.

        `sharded`: ranks hold a part of the model each (FSDP), not all of it (DDP). `learning_rate_factor`: of a
        parameter, by its name.
        """
        self.name = name
        self.model = model
        self.objective = objective
        self.num_updates = 0
        self.average = None if config.average is None else Average(model, config.average)
        self._config = config
        self._steps = steps
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
        # Of the steps since the last report: total, weight, gradient norm, steps, parts… Skipped ones don't count.
        self._sums = torch.zeros(4 + objective.num_parts, device=self._device)

    def learning_rate_at(self, step: int) -> float:
        return self._config.learning_rate_at(step - self._steps.start, len(self._steps))

    def learn(self, micro_batches: Iterable[Sequence[Any]], *, num: int, step: int) -> Step:
        """The optimizer step over this rank's `num` micro-batches and all the others'."""
        self.model.train()
        self.objective.begin_step()
        sums = self._accumulate(micro_batches, num)
        # DDP and FSDP average over the ranks what is to be summed.
        scale = self._ranks.num / sums[1]
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = whole_tensor(torch.nn.utils.get_total_norm(gradients)) * scale
        finite = norm.isfinite() & sums[0].isfinite()
        set_learning_rate(self._optimizer, self.learning_rate_at(step))
        clipping = (norm / self._config.max_gradient_norm).clamp(min=1) / scale
        scale_next_step(self._optimizer, divisor=clipping, skip=(~finite).float())
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.num_updates += 1
        if self.average is not None:
            self.average.update(self.model, self.num_updates, finite)
        found = torch.cat((sums[:2], torch.stack((norm, torch.ones_like(norm))), sums[2:]))
        self._sums += torch.where(finite, found, torch.zeros_like(found))
        return Step(finite, sums[0] / sums[1])

    def rehearse(self, micro_batch: Sequence[Any]) -> None:
        """One backward pass to no effect, after which DDP adds up gradients in the order that it will keep.

        It settles on it in the first pass of a process: without this, a resumed run would add in another order than
        the undisturbed one in its first step, and differ in the last bit.
        """
        if self._reducing is not None:
            self.try_out(micro_batch)

    def try_out(self, micro_batch: Sequence[Any]) -> None:
        """Forward and back, to no effect but on memory; all ranks together."""
        self._accumulate([micro_batch], 1)
        self._optimizer.zero_grad(set_to_none=True)

    def report(self) -> dict[str, float]:
        """Metrics of the steps since the last report; empty where there were none. Waits for the device."""
        total, weight, norm, steps, *parts = self._sums.tolist()
        self._sums.zero_()
        if steps == 0:
            return {}
        return {"loss": total / weight, "gradient_norm": norm / steps, **self.objective.metrics(weight, parts)}

    def models(self) -> Iterator[nn.Module]:
        """What holds the weights: the model, and the average where there is one."""
        yield self.model
        if self.average is not None:
            yield self.average.model

    def evaluated(self) -> nn.Module:
        """The weights that count, the average where there is one: all of them, so all ranks have to ask together."""
        return whole(self.model if self.average is None else self.average.model)

    def state_dict(self) -> dict[str, Tensor]:
        """All that a step leaves behind, but for `num_updates`: the living tensors, to be read or filled by others."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        state = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for parameter, kept in self._optimizer.state.items():
            state |= {f"optimizer/{names[parameter]}/{name}": tensor for name, tensor in kept.items()}
        if self.average is not None:
            state |= {f"average/{name}": tensor for name, tensor in self.average.model.state_dict().items()}
        return {**state, "sums": self._sums}

    def _accumulate(self, micro_batches: Iterable[Sequence[Any]], num: int) -> Float[Tensor, " sums"]:
        """Gradients of all micro-batches; total, weight and parts, summed over all ranks."""
        sums = torch.zeros(2 + self.objective.num_parts, device=self._device)
        for index, micro_batch in enumerate(micro_batches):
            with self._exchange(last=index == num - 1):
                with autocast(self._device, self._precision):
                    total, weight, parts = (self._reducing or self.objective)(*micro_batch)
                total.backward()
            sums += torch.cat((torch.stack((total.detach(), weight.detach())), parts.detach()))
        return self._ranks.sum(sums)

    def _exchange(self, *, last: bool) -> AbstractContextManager[None]:
        """Ranks add up whole gradients in the last backward pass of a step alone; shards in each, to stay shards."""
        return nullcontext() if last or self._reducing is None else self._reducing.no_sync()


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Torch's own randomness as a function of these, so that nothing of it needs to be kept."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1)))
