"""The stage that judges a tokenizer by its reconstructions of images: rFID, PSNR, SSIM and LPIPS."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bar_model import checkpoint
from bar_model.configuration import digest, plain
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.cluster import ClusterConfig
from pipeline.evaluation.extract import ExtractConfig, extract
from pipeline.evaluation.image_sets import ImageSet, image_set_fingerprint, open_image_set
from pipeline.execution.determinism import check_unchanged
from pipeline.features.networks import Extractor, FeatureNetworksConfig
from pipeline.images.codec import CROP_RULE, from_model, to_model
from pipeline.images.source_config import SourceConfig
from pipeline.metrics.frechet import frechet_distance
from pipeline.metrics.pixels import mean_psnr, psnr, ssim
from pipeline.paths import InputUrl, OutputFolder, SourceUrl
from pipeline.pretrained.inception import RESIZE
from pipeline.pretrained.tokenizer_losses import load_lpips, load_vgg
from pipeline.reports.page import Illustration
from pipeline.reports.panel import Panel
from pipeline.reports.publish import Findings, report_once
from pipeline.reports.report import Figure, Report, Result, results_table
from pipeline.samples.shard import PIXEL_RULE
from pipeline.storage import Folder, absolute, local_copy
from pipeline.terminal import show
from pipeline.tracking.lineage import Input, Judged
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig

RECONSTRUCTION_FIGURES = (
    Figure("rfid", "rFID (of reconstructions: none of samples)"),
    Figure("psnr", "PSNR", "dB"),
    Figure("ssim", "SSIM"),
    Figure("lpips", "LPIPS (VGG)"),
)
SHOWN_PAIRS = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateTokenizerConfig(SourceConfig):
    """Which tokenizer is judged, and on which images."""

    tokenizer: InputUrl
    """Tokenizer: a model folder or a published .bin file, of any URL."""
    source: SourceUrl
    """Pictures that its training has not seen, any source that tokenizing takes; for the published figures, ImageNet's
    validation set."""
    out: OutputFolder
    """Folder for the report."""
    features: OutputFolder | None = None
    """Folder for features, which evaluations may share (else: OUT/features)."""
    lpips: bool = True
    vgg: InputUrl | None = None
    """VGG-16 as torchvision has it, for LPIPS: a path or URL (else: torchvision's hub)."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass(frozen=True, kw_only=True)
class ReconstructionProtocol:
    """Everything that the figures depend on. Results compare only if their protocols are equal."""

    name: str = "reconstructions against their very pictures"
    pictures: str
    """A digest over the images, as their source lists them."""
    tokenizer: str
    inception: str
    """SHA-256 of its weights."""
    vgg: str | None
    image_size: int
    crop_rule: str = CROP_RULE
    pixel_rule: str = PIXEL_RULE
    resize: str = RESIZE


@dataclass(frozen=True, kw_only=True)
class ReconstructionNetworks:
    """A tokenizer, and the networks that see its reconstructions."""

    tokenizer: str
    fingerprint: str
    vgg: str | None
    vgg_sha256: str | None
    """SHA-256 of VGG's convolutions; None leaves LPIPS out."""
    features: FeatureNetworksConfig

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the features depend on, beside the images (JSON values)."""
        return {**self.features.identity, "tokenizer": self.fingerprint, "vgg": self.vgg_sha256}

    def for_workers(self) -> "ReconstructionNetworks":
        """The same with absolute paths, for another working directory."""
        features = self.features.for_workers()
        return replace(self, tokenizer=absolute(self.tokenizer), vgg=absolute(self.vgg), features=features)

    def load(self, device: torch.device) -> Extractor:
        """The networks, ready to see images.

        Raises:
            BadInput: weights can't be loaded, or have changed.
        """
        path = local_copy(self.tokenizer)
        check_unchanged(self.tokenizer, checkpoint.fingerprint_of(path), self.fingerprint)
        lpips = None if self.vgg_sha256 is None else load_lpips(load_vgg(self.vgg)).to(device)
        tokenizer = checkpoint.load_tokenizer(path, device=device)
        return Reconstructions(tokenizer, self.features.load(device), lpips, device)


class Reconstructions:
    """Makes features of the reconstructions of images, and `psnr`, `ssim`, `lpips` (batch, 1) of each pair."""

    def __init__(
        self, tokenizer: Tokenizer, extractor: Extractor, lpips: nn.Module | None, device: torch.device
    ) -> None:
        self._tokenizer = tokenizer
        self._extractor = extractor
        self._lpips = lpips
        self._device = device

    @torch.no_grad()
    def __call__(self, images: UInt8[Tensor, "batch 3 height width"]) -> dict[str, Float[Tensor, "batch dims"]]:
        """The features of the reconstructions of these images, and the differences of each pair."""
        pictures = rearrange(images, "batch rgb height width -> batch height width rgb").cpu().numpy()
        codes = self._tokenizer.encode(to_model(pictures).to(self._device))
        made = from_model(self._tokenizer.decode(codes))
        again = rearrange(torch.from_numpy(made), "batch height width rgb -> batch rgb height width")
        pairs = {"psnr": torch.from_numpy(psnr(pictures, made)), "ssim": ssim(images.cpu(), again)}
        if self._lpips is not None:
            both = (to_model(each).to(self._device) for each in (made, pictures))
            pairs["lpips"] = self._lpips(*both).flatten()
        return {**self._extractor(again), **{name: each.float()[:, None] for name, each in pairs.items()}}


def evaluate_tokenizer(config: EvaluateTokenizerConfig, run: Run | None = None) -> Report:
    """Writes report.json and report.html, unless they are there; inside a Ray session.

    Raises:
        BadInput: weights or images can't be loaded, or `config.out` holds another evaluation.
    """
    path = local_copy(config.tokenizer)
    tokenizer = checkpoint.load_tokenizer(path)
    size = tokenizer.config.image_size
    image_set = open_image_set(config.source, size, sources=config)
    protocol = ReconstructionProtocol(
        pictures=image_set_fingerprint(image_set),
        tokenizer=checkpoint.fingerprint_of(path),
        inception=config.extract.networks.inception_sha256,
        vgg=_sha256(load_vgg(config.vgg)) if config.lpips else None,
        image_size=size,
    )
    networks = ReconstructionNetworks(
        tokenizer=config.tokenizer,
        fingerprint=protocol.tokenizer,
        vgg=config.vgg,
        vgg_sha256=protocol.vgg,
        features=config.extract.networks,
    )
    out = Folder(config.out)

    def find() -> Findings:
        take = partial(extract, image_set, config.features or out.path("features"), config.extract, run)
        pictures = take().summary(("pool3",), ())
        pairs = ("psnr", "ssim", "lpips") if config.lpips else ("psnr", "ssim")
        made = take(networks).summary(("pool3",), pairs)
        values = {"rfid": frechet_distance(made.moments["pool3"], pictures.moments["pool3"])}
        values |= {name: float(np.mean(made.features[name], dtype=np.float64)) for name in pairs if name != "psnr"}
        values["psnr"], notes = mean_psnr(made.features["psnr"])
        # Images smaller than its window have no SSIM.
        results = [Result(figure, values[figure.name]) for figure in RECONSTRUCTION_FIGURES if figure.name in values]
        measured = tuple(result for result in results if not np.isnan(result.value))
        shown = reconstructions_shown(image_set, tokenizer)
        return Findings(Report(protocol=protocol, results=measured, notes=notes), [shown], len(pictures.keys))

    inputs = [
        Input("tokenizer", config.tokenizer, protocol.tokenizer),
        Input("pictures", config.source, protocol.pictures),
    ]
    title = "Reconstructions beside their pictures"
    judged = Judged(protocol.tokenizer, protocol.name, digest(protocol))
    if run is not None:
        run.model("tokenizer", config.tokenizer, protocol.tokenizer)
    report = report_once(title, out, {"protocol": plain(protocol)}, inputs, find, run, judged=judged)
    show(results_table(f"Results by {protocol.name}", report.results), *report.notes)
    return report


def reconstructions_shown(image_set: ImageSet, tokenizer: Tokenizer) -> Illustration:
    """An illustration of the first images, and of their reconstructions."""
    images = image_set.read(next(image_set.plan()))["images"][:SHOWN_PAIRS].copy()  # An npz file's are read-only.
    made = from_model(tokenizer.decode(tokenizer.encode(to_model(images))))
    about = f"The first {len(images)} pictures, not chosen, and what their codes keep of them."
    return Illustration.of(
        Panel("Reconstructions", ["picture", "reconstruction"], {"": np.stack([images, made])}, about)
    )


def _sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
