"""The losses of a tokenizer in training: its own, and its discriminator's."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bar_model.tokenizer.loss import LossTerms, TokenizerLoss
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerOutput
from pipeline.training.step.trainee import LossSums, Objective

Images = Float[Tensor, "batch 3 height width"]


class ReconstructionObjective(Objective):
    """The tokenizer's loss. The mean over a micro-batch counts with the size of the micro-batch."""

    terms = ("l1", "l2", "lpips", "convnext", "semantic", "gram", "adversarial")
    num_parts = len(terms)

    def __init__(self, tokenizer: Tokenizer, loss: TokenizerLoss, *, num_steps: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        # In a tuple, so that the discriminator's weights are not registered among the tokenizer's.
        self._loss = (loss,)
        self._num_steps = num_steps

    def forward(self, images: Images, step: int) -> LossSums:
        """The loss of reconstructing some images in a step."""
        return self.loss_sums(self.tokenizer(images), images, step)

    def loss_sums(self, output: TokenizerOutput, images: Images, step: int | None) -> LossSums:
        """The loss of reconstructions that are there already; without a step, without the adversarial term."""
        found = self._loss[0].generator(output, images, step=step, num_steps=self._num_steps)
        return _loss_sums(found, self.terms, len(images))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        """The mean of each term of the loss that is not 0."""
        return {name: part / weight for name, part in zip(self.terms, parts, strict=True) if part}


class DiscriminatorObjective(Objective):
    """The discriminator's loss, on images and their reconstructions."""

    terms = ("discriminator", "logits_real", "logits_fake")
    num_parts = len(terms)

    def __init__(self, tokenizer: Tokenizer, loss: TokenizerLoss) -> None:
        super().__init__()
        self.loss = loss
        self._tokenizer = (tokenizer,)

    def begin_step(self) -> None:
        """Updates the spectral norms once a step, so that they do not depend on the number of micro-batches."""
        self.loss.update_norms()

    def forward(self, images: Images, step: int) -> LossSums:
        """The loss of telling some images from their reconstructions."""
        with torch.no_grad():
            fake = self._tokenizer[0](images).reconstruction
        return _loss_sums(self.loss.discriminator(images, fake, step=step), self.terms, len(images))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        """The mean logits of images and of reconstructions."""
        return {name: part / weight for name, part in zip(self.terms, parts, strict=True) if name != "discriminator"}


def _loss_sums(found: LossTerms, names: Sequence[str], num: int) -> LossSums:
    """Means over `num` images as sums."""
    parts = torch.stack([found.terms.get(name, torch.zeros_like(found.total)).detach().float() for name in names])
    return LossSums(found.total * num, torch.full_like(found.total, num), parts * num)
