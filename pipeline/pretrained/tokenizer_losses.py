"""The frozen networks of the tokenizer's losses: from the libraries that define them, weights from a path or a hub."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bar_model import checkpoint
from bar_model.errors import BadInput
from bar_model.tokenizer.discriminator import DINO_BLOCKS
from bar_model.tokenizer.encoder import Encoder
from bar_model.tokenizer.loss import FrozenNetworks, TokenizerLossConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.paths import InputUrl
from pipeline.pretrained.inception import SHA256 as INCEPTION_SHA256
from pipeline.pretrained.weights import RequiredWeights, read_weights
from pipeline.storage import absolute

_DINO = "vit_small_patch8_224.dino"
_SIGLIP = "google/siglip2-so400m-patch16-naflex"


@dataclass(frozen=True, kw_only=True)
class FrozenNetworksConfig:
    """Where the weights are, as a path or URL. None stands for the hub that the library itself downloads from."""

    vgg: InputUrl | None = None
    """VGG-16 as torchvision has it, for the LPIPS and Gram losses."""
    convnext: InputUrl | None = None
    """ConvNeXt-S as torchvision has it, for the perceptual loss."""
    dino: InputUrl | None = None
    """DINO's ViT-S/8, for the discriminator."""
    siglip: InputUrl | None = None
    """SigLIP 2 so400m patch16 NaFlex as transformers has it (a folder), for the encoder and the semantic loss."""
    inception: InputUrl | None = None
    """Inception-v3 as torch-fidelity has it, for rFID."""
    inception_sha256: str = INCEPTION_SHA256
    """SHA-256 of that file. With another file, rFID compares with no others."""

    def for_workers(self) -> "FrozenNetworksConfig":
        """The same with absolute paths, for another working directory."""
        places = ("vgg", "convnext", "dino", "siglip", "inception")
        return replace(self, **{name: absolute(getattr(self, name)) for name in places})


def load_frozen_networks(
    sources: FrozenNetworksConfig, loss: TokenizerLossConfig, tokenizer: TokenizerConfig, device: torch.device
) -> FrozenNetworks:
    """The networks that this loss needs, and no others.

    Raises:
        BadInput: weights can't be loaded, or are another network's; the message says which, and where they are kept.
    """
    vgg = load_vgg(sources.vgg).to(device) if loss.lpips > 0 or loss.gram > 0 else None
    return FrozenNetworks(
        vgg=vgg,
        lpips=load_lpips(vgg).to(device) if vgg is not None and loss.lpips > 0 else None,
        convnext=load_convnext(sources.convnext).to(device) if loss.convnext > 0 else None,
        siglip=load_siglip(sources.siglip, tokenizer).to(device) if loss.semantic > 0 else None,
        dino=DinoSlots(load_dino(sources.dino).to(device)) if loss.adversarial > 0 else None,
    )


def fingerprints(networks: FrozenNetworks) -> dict[str, str]:
    """Fingerprints of the weights of the networks that are there, by name."""
    found = {field.name: getattr(networks, field.name) for field in fields(networks)}
    return {name: checkpoint.fingerprint(network) for name, network in found.items() if isinstance(network, nn.Module)}


def load_vgg(source: str | None) -> nn.Sequential:
    """The `features` of VGG-16, frozen."""
    from torchvision.models import VGG16_Weights, vgg16

    with torch.device("meta"):
        features = vgg16().get_submodule("features")
    assert isinstance(features, nn.Sequential)
    required, weights = _torchvision("vgg", VGG16_Weights.IMAGENET1K_V1.url, source)
    # The classifier, nine tenths of the file, is left there.
    convolutions = {key: tensor for key, tensor in weights.items() if key.startswith("features.")}
    return required.fill(features, {key.removeprefix("features."): tensor for key, tensor in convolutions.items()})


def load_lpips(vgg: nn.Sequential) -> nn.Module:
    """LPIPS on the convolutions of this VGG-16. Its own linear weights come with the library."""
    import lpips

    with warnings.catch_warnings(), torch.device("meta"):
        # The library asks torchvision for a network without weights in a way that torchvision deprecates.
        warnings.filterwarnings("ignore", category=UserWarning, message="The parameter 'pretrained'|Arguments other")
        network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    linears = read_weights(Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth")
    network.load_state_dict(linears, strict=False, assign=True)
    # "slice2.5.weight": the slices number the layers as VGG-16 does.
    convolutions = {key: vgg.state_dict()[key.partition(".")[2]] for key in network.net.state_dict()}
    network.net.load_state_dict(convolutions, assign=True)
    return network.eval().requires_grad_(False)


def load_convnext(source: str | None) -> nn.Module:
    """ConvNeXt-S, frozen."""
    from torchvision.models import ConvNeXt_Small_Weights, convnext_small

    with torch.device("meta"):
        network = convnext_small()
    required, weights = _torchvision("convnext", ConvNeXt_Small_Weights.IMAGENET1K_V1.url, source)
    return required.fill(network, weights)


def load_dino(source: str | None) -> nn.Module:
    """DINO's ViT-S/8, with the tanh-GELU that the published discriminator gives it."""
    import timm
    from timm.models import load_state_dict_from_hf

    hub = timm.get_pretrained_cfg_value(_DINO, "hf_hub_id")
    origin = timm.get_pretrained_cfg_value(_DINO, "url")
    required = RequiredWeights("dino", str(origin))
    weights = required.get(source, read_weights, lambda: load_state_dict_from_hf(str(hub)))
    with torch.device("meta"):
        network = timm.create_model(_DINO, act_layer="gelu_tanh")
    return required.fill(network, weights)


class DinoSlots(nn.Module):
    """What the discriminator takes from the ViT: its slots before the first block and after each of `DINO_BLOCKS`."""

    def __init__(self, dino: nn.Module) -> None:
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__()
        self.dino = create_feature_extractor(dino, ["norm_pre", *(f"blocks.{block}" for block in DINO_BLOCKS)])

    def forward(self, images: Float[Tensor, "batch 3 224 224"]) -> list[Float[Tensor, "batch slots features"]]:
        """The slots at each of these depths."""
        return list(self.dino(images).values())


def load_siglip(source: str | None, tokenizer: TokenizerConfig) -> Encoder:
    """SigLIP 2 as the encoder of this tokenizer: the start of its training, and the target of the semantic loss."""
    required = RequiredWeights("siglip", _SIGLIP)
    weights = required.get(source, _vision_tower, lambda: _vision_tower(_SIGLIP))
    with torch.device("meta"):
        encoder = Encoder(tokenizer.encoder, grid=tokenizer.codes.grid, patch=tokenizer.patch)
    required.fill(encoder.tower, {key: tensor for key, tensor in weights.items() if not key.startswith("head.")})
    return encoder.eval().requires_grad_(False)


def _torchvision(field: str, url: str, source: str | None) -> tuple[RequiredWeights, Mapping[str, Tensor]]:
    required = RequiredWeights(field, url)
    download = partial(torch.hub.load_state_dict_from_url, url, map_location="cpu", weights_only=True)
    return required, required.get(source, read_weights, download)


def _vision_tower(name: str | Path) -> Mapping[str, Tensor]:
    from transformers import Siglip2VisionModel

    loaded = Siglip2VisionModel.from_pretrained(str(name), output_loading_info=True)
    tower, report = cast("tuple[nn.Module, dict[str, list[str]]]", loaded)
    if report["missing_keys"]:
        raise BadInput(f"{name} holds no SigLIP 2 vision tower")
    return tower.state_dict()
