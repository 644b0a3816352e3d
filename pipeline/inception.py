"""Inception's features of pictures, on which FID is defined: torch-fidelity's port of the TensorFlow graph of 2015."""

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.weights import Wanted

DIMS = 2048
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the weights that the literature's distances are measured with."""


class Inception:
    """pool3 of Inception-v3, in float32 proper: neither autocast nor TF32, which would shift every distance."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """`path`: weights in torch-fidelity's format. It unpickles them, so they must be known: see load_inception."""
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self._network = FeatureExtractorInceptionV3("inception", [str(DIMS)], str(path)).to(device)
        self._device = device

    @torch.no_grad()
    def features(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2048"]:
        """Of pictures of any size, which the network itself resizes to 299 px as TensorFlow 1 did."""
        with (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(self._device.type, enabled=False),
        ):
            (features,) = self._network(images.to(self._device))
        return features


def load_inception(source: str | None, sha256: str, device: torch.device) -> Inception:
    """Inception with the weights at a path or URL, or (None) those that torch-fidelity publishes.

    Raises:
        BadInput: they can't be had, or their SHA-256 is another; the message says what is wanted, and from where.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    wanted = Wanted("inception", URL_INCEPTION_V3)
    path = wanted.get(source, lambda path: path, lambda: _downloaded(URL_INCEPTION_V3))
    wanted.check(path, sha256)
    return Inception(path, device)


def _downloaded(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=SHA256, progress=False)
    return path
