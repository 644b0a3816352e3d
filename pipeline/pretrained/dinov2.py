"""DINOv2's features of images, of which FD-DINOv2 is made (Stein et al., 2023)."""

import hashlib
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from pipeline.pretrained.inception import float32_products
from pipeline.storage import local_copy

INPUT_SIDE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RULE = (
    f"class token of the last norm; pictures at {INPUT_SIDE} px, bicubic with antialiasing, by ImageNet's mean and "
    "deviation"
)
WEIGHTS = "model.safetensors"
ORIGIN = "facebook/dinov2-large"
"""The network of the literature's FD-DINOv2: ViT-L/14."""


class Dinov2:
    """DINOv2's ViT in full float32: neither autocast nor TF32."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network.eval().to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch dims"]]:
        """The features `dinov2` of images of any size."""
        pixels = images.to(self._device).float() / 255
        resized = F.interpolate(
            pixels, size=(INPUT_SIDE, INPUT_SIDE), mode="bicubic", antialias=True, align_corners=False
        )
        mean, deviation = (pixels.new_tensor(each)[:, None, None] for each in (MEAN, DEVIATION))
        with float32_products(), torch.autocast(self._device.type, enabled=False):
            return {"dinov2": self._network((resized - mean) / deviation).last_hidden_state[:, 0]}


def load_dinov2(source: str, sha256: str, device: torch.device) -> Dinov2:
    """DINOv2 from a folder of any URL, in the format of transformers.

    Raises:
        BadInput: it can't be loaded, or its weights have another SHA-256.
    """
    from transformers import Dinov2Model

    if (found := dinov2_sha256(source)) != sha256:
        raise BadInput(f"{source} has weights of SHA-256 {found[:16]}…, not {sha256[:16]}…: give the folder that has")
    try:
        network = Dinov2Model.from_pretrained(local_copy(source), use_safetensors=True, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{source} is no DINOv2 ({reason}): give a folder as transformers keeps {ORIGIN}") from error
    return Dinov2(network, device)


def dinov2_sha256(source: str) -> str:
    """The SHA-256 of the weights in a folder of DINOv2.

    Raises:
        BadInput: the folder holds no weights.
    """
    path: Path = local_copy(source) / WEIGHTS
    if not path.is_file():
        raise BadInput(f"{source} holds no {WEIGHTS}: give a folder as transformers keeps {ORIGIN}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
