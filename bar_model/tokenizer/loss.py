"""The losses of the tokenizer and of its discriminator (docs/method.md, section 2).

Errors of pixels (L1, L2) alone give blurred images. The other terms compare images through frozen networks: as a person
sees them (LPIPS, ConvNeXt), by their textures (Gram), by their content (semantic), and by what distinguishes them from
real images (adversarial). A term of weight 0 is off, and its network is not needed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.ranges import Share, Weight, check_ranges
from bar_model.tokenizer.discriminator import (
    DinoFeatures,
    Discriminator,
    draw_crop,
    hinge_loss,
    imagenet_normalized,
    rounded_to_8_bits,
    without_parameter_gradients,
)
from bar_model.tokenizer.tokenizer import TokenizerOutput

ImageBatch = Float[Tensor, "batch 3 height width"]
TokenFeatures = Float[Tensor, "batch tokens features"]
Scalar = Float[Tensor, ""]
_Network = TypeVar("_Network")

_CLASSIFIER_SIZE = (224, 224)


@dataclass(frozen=True, kw_only=True)
class TokenizerLossConfig:
    """The weight of each term; the defaults are published. The published perceptual loss is `lpips` plus `convnext`."""

    l1: Weight = 0.1
    l2: Weight = 1.0
    lpips: Weight = 1.0
    convnext: Weight = 0.1
    semantic: Weight = 0.7
    gram: Weight = 10.0
    adversarial: Weight = 0.05
    adversarial_start: Share = 0.5
    """The fraction of the run after which the adversarial loss is on."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def is_adversarial(self, step: int, num_steps: int) -> bool:
        """Whether the adversarial loss is on at this step."""
        return self.adversarial > 0 and step >= self._first_adversarial(num_steps)

    def updates_discriminator(self, step: int, num_steps: int) -> bool:
        """Whether this step trains the discriminator instead of the tokenizer: every second one once the loss is on."""
        return self.is_adversarial(step, num_steps) and (step - self._first_adversarial(num_steps)) % 2 == 1

    def _first_adversarial(self, num_steps: int) -> int:
        return math.ceil(self.adversarial_start * num_steps)


@dataclass(frozen=True, kw_only=True)
class FrozenNetworks:
    """The networks of the losses, on the images' device, in evaluation mode, their parameters without gradients."""

    lpips: Callable[[ImageBatch, ImageBatch], Tensor] | None = None
    """Two batches in [-1, 1] -> the LPIPS distance of each pair (VGG-16)."""
    vgg: nn.Sequential | None = None
    """The `features` of VGG-16: normalised images, through one layer after the other."""
    convnext: Callable[[ImageBatch], Float[Tensor, "batch classes"]] | None = None
    """Normalised images of 224 px -> the logits of ConvNeXt-S."""
    siglip: Callable[[ImageBatch], TokenFeatures] | None = None
    """Images in [-1, 1] -> the features of the tokenizer's encoder before training."""
    dino: DinoFeatures | None = None


class LossTerms(NamedTuple):
    """The weighted sum to minimise, and each term that is on for the log, unweighted and detached."""

    total: Scalar
    terms: dict[str, Scalar]


class TokenizerLoss(nn.Module):
    """The losses of the tokenizer and of its discriminator; only the discriminator's heads are parameters."""

    def __init__(self, config: TokenizerLossConfig, networks: FrozenNetworks, *, seed: int = 0) -> None:
        """Choose the terms that are on; `seed` decides the crops that the discriminator receives.

        Raises:
            BadInput: a term is on, and its network is missing.
        """
        super().__init__()
        self.config = config
        self._seed = seed
        self._terms = _reconstruction_terms(config, networks)
        # This name is part of the training checkpoints' keys.
        self._critic = None
        if config.adversarial > 0:
            self._critic = Discriminator(_required(networks.dino, "adversarial", "dino"))

    @property
    def discriminator_parameters(self) -> list[nn.Parameter]:
        """The parameters of the discriminator; none if the adversarial loss is off."""
        return list(self.parameters())

    def update_norms(self) -> None:
        """Update the spectral norms of the discriminator; to be called before each of its steps."""
        if self._critic is not None:
            self._critic.update_norms()

    def generator(self, output: TokenizerOutput, images: ImageBatch, *, step: int | None, num_steps: int) -> LossTerms:
        """The tokenizer's loss; no gradient reaches the discriminator.

        `step` is None outside of training, where the adversarial term is left out.
        """
        terms = {name: term(output, images) for name, term in self._terms.items()}
        if self._critic is not None and step is not None and self.config.is_adversarial(step, num_steps):
            with without_parameter_gradients(self._critic):
                terms["adversarial"] = -self._critic(output.reconstruction, draw_crop(self._seed, step, 0)).mean()
        total = sum((getattr(self.config, name) * term for name, term in terms.items()), images.new_zeros(()))
        return LossTerms(total, {name: term.detach() for name, term in terms.items()})

    def discriminator(self, real: ImageBatch, fake: ImageBatch, *, step: int) -> LossTerms:
        """The discriminator's loss on images and their reconstructions; no gradient reaches the tokenizer.

        Raises:
            BadInput: the adversarial loss is off, so there is no discriminator.
        """
        if self._critic is None:
            raise BadInput("the adversarial loss has weight 0: there is no discriminator to train")
        real_logits = self._critic(real, draw_crop(self._seed, step, 1))
        fake_logits = self._critic(rounded_to_8_bits(fake.detach()), draw_crop(self._seed, step, 2))
        loss = hinge_loss(real_logits, fake_logits)
        terms = {"discriminator": loss, "logits_real": real_logits.mean(), "logits_fake": fake_logits.mean()}
        return LossTerms(loss, {name: term.detach() for name, term in terms.items()})


def convnext_loss(network: Callable[[ImageBatch], Tensor], reconstruction: ImageBatch, images: ImageBatch) -> Scalar:
    """The mean squared error of a classifier's logits, on images resized to 224 px."""

    def logits(x: ImageBatch) -> Tensor:
        resized = F.interpolate(x, size=_CLASSIFIER_SIZE, mode="bicubic", antialias=True)
        return network(imagenet_normalized(resized))

    with torch.no_grad():
        target = logits(images)
    return F.mse_loss(logits(reconstruction), target)


def gram_loss(vgg: nn.Sequential, reconstruction: ImageBatch, images: ImageBatch) -> Scalar:
    """The mean squared error of the Gram matrices, summed over the layers of VGG-16's `features`."""
    with torch.no_grad():
        targets = gram_matrices(vgg, images)
    pairs = zip(gram_matrices(vgg, reconstruction), targets, strict=True)
    return torch.stack([F.mse_loss(gram, target) for gram, target in pairs]).sum()


def gram_matrices(vgg: nn.Sequential, images: ImageBatch) -> list[Float[Tensor, "batch channels channels"]]:
    """The Gram matrix of every layer's output, divided by channels · height · width.

    A Gram matrix says which channels respond together, wherever in the image: it describes texture without place.
    In the published code each ReLU overwrites the output of the convolution before it, so both layers give the
    rectified matrix. Here that matrix is computed once and listed twice.
    """
    x = imagenet_normalized(F.interpolate(images, size=_CLASSIFIER_SIZE, mode="bilinear"))
    grams = []
    for layer in vgg:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            continue
        features = x.flatten(2)
        gram = features @ features.transpose(1, 2) / features[0].numel()
        grams += [gram, gram] if isinstance(layer, nn.ReLU) else [gram]
    return grams


def semantic_loss(
    network: Callable[[ImageBatch], TokenFeatures], predicted: TokenFeatures | None, images: ImageBatch
) -> Scalar:
    """The mean squared error of the frozen encoder's features as the decoder predicts them.

    Raises:
        BadInput: the decoder predicts no features.
    """
    if predicted is None:
        raise BadInput("the semantic loss is on, but the decoder predicts no features: set decoder.semantic")
    with torch.no_grad():
        target = network(images)
    return F.mse_loss(predicted, target)


def _reconstruction_terms(
    config: TokenizerLossConfig, networks: FrozenNetworks
) -> dict[str, Callable[[TokenizerOutput, ImageBatch], Scalar]]:
    """The terms that are on, except the adversarial one, which begins later."""
    terms: dict[str, Callable[[TokenizerOutput, ImageBatch], Scalar]] = {}
    if config.l1 > 0:
        terms["l1"] = lambda output, images: F.l1_loss(output.reconstruction, images)
    if config.l2 > 0:
        terms["l2"] = lambda output, images: F.mse_loss(output.reconstruction, images)
    if config.lpips > 0:
        lpips = _required(networks.lpips, "lpips", "lpips")
        terms["lpips"] = lambda output, images: lpips(output.reconstruction, images).mean()
    if config.convnext > 0:
        convnext = partial(convnext_loss, _required(networks.convnext, "convnext", "convnext"))
        terms["convnext"] = lambda output, images: convnext(output.reconstruction, images)
    if config.semantic > 0:
        semantic = partial(semantic_loss, _required(networks.siglip, "semantic", "siglip"))
        terms["semantic"] = lambda output, images: semantic(output.semantics, images)
    if config.gram > 0:
        gram = partial(gram_loss, _required(networks.vgg, "gram", "vgg"))
        terms["gram"] = lambda output, images: gram(output.reconstruction, images)
    return terms


def _required(network: _Network | None, term: str, name: str) -> _Network:
    if network is None:
        raise BadInput(
            f"the {term} loss has a weight, but no {name} network was given: give it, or set the weight to 0"
        )
    return network
