"""Inception's features of images, of which FID, sFID and IS are made, by torch-fidelity's port of TensorFlow's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from pipeline.pretrained.weights import RequiredWeights

DIMS = 2048
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""The SHA-256 of the weights that the literature's distances are measured with."""
RESIZE = "bilinear to 299 px as TensorFlow 1 does, without antialiasing"
SPATIAL_CHANNELS = 7
FEATURE_DIMS = {"pool3": DIMS, "spatial": SPATIAL_CHANNELS * 17 * 17}
"""The widths of the features whose distributions are compared."""


class Inception:
    """Inception-v3 in full float32: neither autocast nor TF32, which would shift every distance."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Loads weights in torch-fidelity's format. They are unpickled, so their checksum must be known."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        required = [str(DIMS), "logits_unbiased"]
        self._network = FeatureExtractorInceptionV3("inception", required, str(path)).to(device)
        self._network.Mixed_6d.branch1x1.register_forward_hook(self._keep_spatial)
        self._device = device

    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2048"]:
        """The features pool3, of which FID is made."""
        return self(images)["pool3"]

    @torch.no_grad()
    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch dims"]]:
        """The features of images of any size. The network resizes them to 299 px as TensorFlow 1 did.

        `pool3` (2,048); `spatial` (2,023), of which sFID is made: the first 7 channels of mixed_6/conv, 17 × 17 of
        them, channels last; `logits` (1,008), of which IS is made: without bias, as in the graph.
        """
        with (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            float32_products(),
            torch.autocast(self._device.type, enabled=False),
        ):
            pool3, logits = self._network(images.to(self._device))
        return {"pool3": pool3, "spatial": self._spatial, "logits": logits}

    def _keep_spatial(self, part: nn.Module, given: object, made: Float[Tensor, "batch 192 17 17"]) -> None:
        self._spatial = rearrange(made[:, :SPATIAL_CHANNELS], "batch channel row column -> batch (row column channel)")


def load_inception(source: str | None, sha256: str, device: torch.device) -> Inception:
    """Inception with the weights at a path or URL, or (None) those that torch-fidelity publishes.

    Raises:
        BadInput: they can't be loaded, or have another SHA-256; the message says which are required, and from where.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    required = RequiredWeights("inception", URL_INCEPTION_V3)
    path = required.get(source, lambda path: path, lambda: _downloaded(URL_INCEPTION_V3))
    required.check(path, sha256)
    return Inception(path, device)


@contextmanager
def float32_products() -> Iterator[None]:
    """A context with matrix products without TF32, whatever the process has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _downloaded(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=SHA256, progress=False)
    return path
