"""The networks whose features of images are compared: where their weights lie, and how they are loaded."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.paths import InputUrl
from pipeline.pretrained.dinov2 import dinov2_sha256, load_dinov2
from pipeline.pretrained.inception import SHA256 as INCEPTION_SHA256
from pipeline.pretrained.inception import load_inception
from pipeline.storage import absolute


@dataclass(frozen=True, kw_only=True)
class FeatureNetworksConfig:
    """The networks whose features are compared, by their weights."""

    inception: InputUrl | None = None
    """Inception-v3 as torch-fidelity has it, a path or URL (else: the file that torch-fidelity downloads)."""
    inception_sha256: str = INCEPTION_SHA256
    """Checksum of that file. With another one, figures compare with no others."""
    dinov2: InputUrl | None = None
    """DINOv2 ViT-L/14 as transformers has it (a folder), for FD-DINOv2 (else: none)."""
    dinov2_sha256: str | None = None
    """Checksum of its model.safetensors (else: that of the file there, which the protocol names)."""

    @property
    def identity(self) -> dict[str, Any]:
        """The checksums of the weights, as JSON values; where the weights lie is no part of it."""
        found = self.dinov2_found
        return {"inception": self.inception_sha256, **({} if found is None else {"dinov2": found})}

    @property
    def dinov2_found(self) -> str | None:
        """The SHA-256 of DINOv2's weights, None without DINOv2."""
        return None if self.dinov2 is None else self.dinov2_sha256 or dinov2_sha256(self.dinov2)

    def for_workers(self) -> "FeatureNetworksConfig":
        """The same with absolute paths, for another working directory, bound to the weights that are there now."""
        places = {"inception": absolute(self.inception), "dinov2": absolute(self.dinov2)}
        return replace(self, **places, dinov2_sha256=self.dinov2_found)

    def load(self, device: torch.device) -> "Extractor":
        """The networks on a device, as one extractor of all their features.

        Raises:
            BadInput: weights are missing, or are others than those named.
        """
        inception = load_inception(self.inception, self.inception_sha256, device)
        if self.dinov2 is None or (sha256 := self.dinov2_found) is None:
            return inception
        dinov2 = load_dinov2(self.dinov2, sha256, device)
        return lambda images: {**inception(images), **dinov2(images)}


class Extractor(Protocol):
    """What sees features in images; `pipeline.pretrained.inception.Inception` is one."""

    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch dims"]]:
        """Features of images by name, of pixels 0 … 255."""
        ...


class Networks(Protocol):
    """What becomes an extractor in each worker; `FeatureNetworksConfig` is one."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that its features depend on, beside the images (JSON values)."""
        ...

    def load(self, device: torch.device) -> Extractor:
        """The extractor on a device."""
        ...

    def for_workers(self) -> "Networks":
        """The same with absolute paths, for another working directory."""
        ...
