"""The discriminator of the adversarial loss: small trained heads on a frozen DINO (docs/method.md, section 2)."""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import ParametrizationList

from bar_model.errors import BadInput

DINO_SIZE = 224
DINO_BLOCKS = (2, 5, 8, 11)
"""The blocks after which features are read; they are also read before the first."""
VIRTUAL_BATCH = 8
"""The images over which the discriminator normalises together, so that a batch split between groups gives the same."""

_DINO_WIDTH = 384

DinoFeatures = Callable[[Float[Tensor, "batch 3 224 224"]], list[Float[Tensor, "batch slots features"]]]
"""Normalised images -> the class token and the patches, before the first block and after each of `DINO_BLOCKS`."""


class Crop(NamedTuple):
    """The place of a window of DINO's size in an image, as fractions of the possible places."""

    top: float
    left: float


def draw_crop(*entropy: int) -> Crop | None:
    """A random crop in half of the draws, and None in the others, which stands for the whole image, resized.

    It is a function of the numbers given, so that all workers crop the same window.
    """
    whole, top, left = np.random.default_rng(entropy).random(3)
    return None if whole > 0.5 else Crop(top, left)


class Discriminator(nn.Module):
    """Turns images in [-1, 1] into one logit for each patch and depth, which is high if the patch looks real.

    Its parameters are those of the heads. DINO is frozen and not part of its state.
    """

    def __init__(self, dino: DinoFeatures) -> None:
        super().__init__()
        # In a tuple, so that a network is not registered as a submodule.
        self._dino = (dino,)
        self.heads = nn.ModuleList(DiscriminatorHead(_DINO_WIDTH) for _ in range(1 + len(DINO_BLOCKS)))
        for weight in self._spectral_weights():
            weight[0].eval()

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], crop: Crop | None
    ) -> Float[Tensor, "batch logits"]:
        """The logits of the images, cropped or resized to DINO's size.

        Raises:
            BadInput: the batch does not divide into equal groups of at most eight images.
        """
        with torch.autocast(images.device.type, enabled=False):
            states = self._dino[0](imagenet_normalized(to_dino_size(images.float(), crop)))
            # The features of the class token are added to those of every patch.
            features = [(state[:, 1:] + state[:, :1]).transpose(1, 2) for state in states]
            return torch.cat([head(each) for head, each in zip(self.heads, features, strict=True)], dim=1)

    @torch.no_grad()
    def update_norms(self) -> None:
        """Make one power iteration for each spectral norm.

        PyTorch would make one in every forward pass, of which a step has several. Called once a step, all passes of the
        step use the same weights.
        """
        for weight in self._spectral_weights():
            weight[0].train()(weight.original)
            weight[0].eval()

    def _spectral_weights(self) -> list[ParametrizationList]:
        return [part for part in self.heads.modules() if isinstance(part, ParametrizationList)]


class DiscriminatorHead(nn.Sequential):
    """A block of window 1, a residual block with a window of nine patches, and a convolution to one logit a patch."""

    def __init__(self, width: int) -> None:
        super().__init__(
            _block(width, kernel_size=1),
            Residual(_block(width, kernel_size=9)),
            spectral_norm(nn.Conv1d(width, 1, kernel_size=1)),
            nn.Flatten(),
        )


class Residual(nn.Module):
    """Adds a module's output to its input and divides by √2, which keeps the variance."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Float[Tensor, "batch width patches"]) -> Float[Tensor, "batch width patches"]:
        """(x + inner(x)) / √2."""
        return (x + self.inner(x)) / math.sqrt(2)


class VirtualBatchNorm(nn.Module):
    """Batch normalisation by the statistics of groups of at most eight images, in training and in evaluation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "batch width patches"]) -> Float[Tensor, "batch width patches"]:
        """The normalised features.

        Raises:
            BadInput: the batch does not divide into equal groups of at most eight images.
        """
        num_groups = -(-len(x) // VIRTUAL_BATCH)
        if len(x) % num_groups:
            raise BadInput(f"{len(x)} images for the discriminator: take a multiple of {VIRTUAL_BATCH} a worker")
        groups = x.unflatten(0, (num_groups, -1))
        variance, mean = torch.var_mean(groups, dim=(1, 3), keepdim=True, correction=0)
        normalized = ((groups - mean) / torch.sqrt(variance + 1e-6)).flatten(0, 1)
        return normalized * self.weight[:, None] + self.bias[:, None]


def hinge_loss(real: Float[Tensor, "batch logits"], fake: Float[Tensor, "batch logits"]) -> Float[Tensor, ""]:
    """The loss of the discriminator, 0 once all real logits are above 1 and all fake ones below −1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def rounded_to_8_bits(images: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Images as they would come back from a file of 8 bits a colour.

    Real images come from such files. Without this rounding, the discriminator could recognise a reconstruction by its
    finer values alone.
    """
    return torch.round((images.clamp(-1, 1) + 1) * 127.5) / 127.5 - 1


def to_dino_size(images: Float[Tensor, "batch 3 height width"], crop: Crop | None) -> Float[Tensor, "batch 3 224 224"]:
    """The crop of the images if there is one and they are larger than it; otherwise the whole images, resized."""
    size = images.shape[-1]
    if size <= DINO_SIZE:
        return F.interpolate(images, size=(DINO_SIZE, DINO_SIZE), mode="bicubic")
    if crop is None:
        return F.interpolate(images, size=(DINO_SIZE, DINO_SIZE), mode="area")
    room = size - DINO_SIZE + 1
    top, left = int(crop.top * room), int(crop.left * room)
    return images[..., top : top + DINO_SIZE, left : left + DINO_SIZE]


def imagenet_normalized(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Images in [-1, 1], normalised by mean and deviation of ImageNet's colours as networks trained on it expect."""
    mean, deviation = _imagenet_colours(images.device)
    return ((images + 1) / 2 - mean.to(images.dtype)) / deviation.to(images.dtype)


@functools.cache
def _imagenet_colours(device: torch.device) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and deviation of ImageNet's colours; kept on the device, since a copy from the host would wait for it."""
    colours = torch.tensor(((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), device=device)[:, :, None, None]
    return colours[0], colours[1]


@contextmanager
def without_parameter_gradients(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of this module in this context; gradients still flow through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _block(width: int, *, kernel_size: int) -> nn.Sequential:
    convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, padding_mode="circular")
    return nn.Sequential(spectral_norm(convolution), VirtualBatchNorm(width), nn.LeakyReLU(0.2))
