"""The exponential moving average (EMA) of a model's weights."""

import copy

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bar_model.torch_private import lerp_all
from pipeline.training.step.fsdp import own_part


class Average:
    """The exponential moving average of a model's weights, in a model of its own."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """An average that begins with the model's present weights."""
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay

    def update(self, model: nn.Module, num_updates: int, counts: Bool[Tensor, ""]) -> None:
        """Adds the weights after their `num_updates`-th update to the average, if the update `counts`.

        `counts` stays on the device, so that nothing waits for it. The decay rises to its value, as in the published
        code, so that a short run soon forgets its start.
        """
        decay = min(self._decay, num_updates / (num_updates + 9)) if num_updates > 1 else 0.0
        share = (1 - decay) * counts.float()
        with torch.no_grad():
            averaged, weights = ([own_part(each) for each in part.parameters()] for part in (self.model, model))
            lerp_all(averaged, weights, share)
        for averaged, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            averaged.copy_(buffer)
