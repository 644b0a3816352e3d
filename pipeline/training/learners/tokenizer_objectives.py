"""The losses of a tokenizer in training: its own, and its discriminator's."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bar_model.tokenizer.loss import LossTerms, TokenizerLoss
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerOutput
from pipeline.training.step.trainee import Objective, Tally

Images = Float[Tensor, "batch 3 height width"]


class ReconstructionObjective(Objective):
    """The tokenizer's loss. The mean over a batch counts with the batch's size."""

    terms = ("l1", "l2", "lpips", "convnext", "semantic", "gram", "adversarial")
    num_parts = len(terms)

    def __init__(self, tokenizer: Tokenizer, loss: TokenizerLoss, *, num_steps: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        # In a tuple, so that the discriminator's weights are not registered among the tokenizer's.
        self._loss = (loss,)
        self._num_steps = num_steps

    def forward(self, images: Images, step: int) -> Tally:
        return self.tally(self.tokenizer(images), images, step)

    def tally(self, output: TokenizerOutput, images: Images, step: int | None) -> Tally:
        """As `TokenizerLoss.generator`."""
        found = self._loss[0].generator(output, images, step=step, num_steps=self._num_steps)
        return _tally(found, self.terms, len(images))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        return {name: part / weight for name, part in zip(self.terms, parts, strict=True) if part}


class CriticObjective(Objective):
    """The discriminator's loss, on pictures and what the tokenizer makes of them."""

    terms = ("discriminator", "logits_real", "logits_fake")
    num_parts = len(terms)

    def __init__(self, tokenizer: Tokenizer, loss: TokenizerLoss) -> None:
        super().__init__()
        self.loss = loss
        self._tokenizer = (tokenizer,)

    def begin_step(self) -> None:
        self.loss.update_norms()

    def forward(self, images: Images, step: int) -> Tally:
        with torch.no_grad():
            fake = self._tokenizer[0](images).reconstruction
        return _tally(self.loss.discriminator(images, fake, step=step), self.terms, len(images))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        return {name: part / weight for name, part in zip(self.terms, parts, strict=True) if name != "discriminator"}


def _tally(found: LossTerms, names: Sequence[str], num: int) -> Tally:
    """Means over a batch as sums."""
    parts = torch.stack([found.terms.get(name, torch.zeros_like(found.total)).detach().float() for name in names])
    return Tally(found.total * num, torch.full_like(found.total, num), parts * num)
