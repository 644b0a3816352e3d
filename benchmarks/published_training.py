"""The published training step, from a checkout of the published code, with the weights of a model of ours."""

import sys
from dataclasses import dataclass

import torch
from published_sampler import published_config
from torch import Tensor

from bar_model.generator.bar import Bar
from bar_model.published.checkpoint import export_published
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.trainee import Precision, autocast


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """What the published loader gives: a number a bit, and labels, on the device already."""

    tokens: Tensor
    labels: Tensor


class PublishedTraining:
    """A step as the published script makes it in one process; of `accelerate`, it has autocast alone."""

    def __init__(
        self,
        folder: str,
        bar: Bar,
        config: OptimizationConfig,
        *,
        on: torch.device,
        precision: Precision,
        compiled: bool,
    ) -> None:
        sys.path.insert(0, folder)
        from modeling.generator import BAR  # pyright: ignore[reportMissingImports]

        model = BAR(published_config(bar.config, image_size=256))
        model.load_state_dict(export_published(bar))
        self._model = model.to(on).train()
        self._forward = torch.compile(self._model) if compiled else self._model
        self._autocast = autocast(on, precision)
        self._max_norm = config.max_gradient_norm
        spared = [name for name, weight in model.named_parameters() if weight.ndim < 2 or _is_spared(name)]
        groups = [
            {"params": [weight for name, weight in model.named_parameters() if name in spared], "weight_decay": 0.0},
            {"params": [weight for name, weight in model.named_parameters() if name not in spared]},
        ]
        # As published, the implementation is torch's own choice.
        self._optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )

    def step(self, batch: TokenBatch) -> float:
        """In random order, with a tenth of the classes dropped; the loss is read every step, as published."""
        orders = self._model.sample_orders(batch.tokens, random_ratio=1.0)
        condition = self._model.preprocess_condition(batch.labels, cond_drop_prob=0.1)
        with self._autocast:
            loss = self._forward(batch.tokens, condition, orders=orders)
        found = loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return found


def _is_spared(name: str) -> bool:
    return "bias" in name or any(part in name.lower() for part in ("norm", "ln", "embed"))
