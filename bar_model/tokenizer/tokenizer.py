"""BAR-FSQ: image <-> bits (docs/method.md, section 2)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.tokenizer.decoder import Decoder, DecoderConfig
from bar_model.tokenizer.encoder import Encoder, EncoderConfig
from bar_model.tokenizer.quantizer import BinaryQuantizer, bits_to_signs, quantize, signs_to_bits

BROKEN_IMAGES = "images hold NaN: the weights or the sampling that made them are broken"
"""What is raised instead of making colours of them."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Square images of `image_size` pixels, one token of `bits` bits for each `patch` × `patch` pixels."""

    image_size: int
    patch: int
    bits: int
    encoder: EncoderConfig
    decoder: DecoderConfig
    balanced_start: bool
    """True from scratch: half of the bits are 1 at the start of training, and not all of them."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise BadInput(f"images of {self.image_size} px do not divide into patches of {self.patch} px")
        if not 1 <= self.bits <= 256:
            raise BadInput(f"{self.bits} bits a token: choose 1 to 256")

    @property
    def codes(self) -> CodeShape:
        return CodeShape(grid=self.image_size // self.patch, bits=self.bits)


class TokenizerOutput(NamedTuple):
    """What training sees of a batch; `semantics` is the frozen encoder's features as the decoder predicts them."""

    reconstruction: Float[Tensor, "batch 3 height width"]
    bits: Bool[Tensor, "batch tokens bits"]
    semantics: Float[Tensor, "batch tokens features"] | None


class Tokenizer(nn.Module):
    """Images in [-1, 1] <-> bits in raster order; `decode_only` leaves out the encoder, most of the parameters.

    The frozen copy of the encoder that gives the semantic loss its target is one of that loss's frozen networks
    (`tokenizer_loss.FrozenNetworks`), no part of the tokenizer: it is neither stored here nor needed to encode.
    """

    encoder: Encoder
    """Missing where the tokenizer only decodes."""

    def __init__(self, config: TokenizerConfig, *, decode_only: bool = False) -> None:
        super().__init__()
        self.config = config
        grid, patch = config.codes.grid, config.patch
        if not decode_only:
            self.encoder = Encoder(config.encoder, grid=grid, patch=patch)
        self.quantizer = BinaryQuantizer(
            config.encoder.width, config.bits, config.decoder.width, balanced_start=config.balanced_start
        )
        self.decoder = Decoder(config.decoder, grid=grid, patch=patch, feature_width=config.encoder.width)

    @property
    def only_decodes(self) -> bool:
        return "encoder" not in self._modules

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> TokenizerOutput:
        """Reconstruct, with gradients straight through the rounding."""
        signs = quantize(self.pre_quantise(images))
        decoded = self.decoder(self.quantizer.tokens(signs), semantics=True)
        return TokenizerOutput(decoded.images, signs_to_bits(signs), decoded.semantics)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, "batch tokens bits"]:
        return signs_to_bits(quantize(self.pre_quantise(images)))

    @torch.no_grad()
    def decode(self, bits: Bool[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch 3 height width"]:
        """Images around [-1, 1], not clamped."""
        return self.decode_by(self.decoder, bits)

    @torch.no_grad()
    def decode_by(
        self, decoder: Decoder, bits: Bool[Tensor, "batch tokens bits"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """As `decode`, by a decoder that stands for this tokenizer's own."""
        expected = (self.config.codes.num_tokens, self.config.bits)
        if bits.shape[1:] != expected:
            raise BadInput(
                f"bits of shape {tuple(bits.shape)}: this tokenizer decodes (batch, {expected[0]}, {expected[1]})"
            )
        return decoder(self.quantizer.tokens(bits_to_signs(bits)), semantics=False).images

    def pre_quantise(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens bits"]:
        """The float32 values z whose signs about the quantiser's threshold are the bits."""
        size = self.config.image_size
        if images.shape[1:] != (3, size, size):
            raise BadInput(f"images of shape {tuple(images.shape)}: this tokenizer encodes (batch, 3, {size}, {size})")
        if self.only_decodes:
            raise BadInput("this tokenizer was loaded to decode only: load it whole to encode")
        return self.quantizer.pre_quantise(self.encoder(images))


def to_uint8(images: Float[Tensor, "batch 3 height width"]) -> UInt8[Tensor, "batch height width 3"]:
    """[-1, 1] -> 0 … 255, clamped and truncated: the rule of the published FID protocol."""
    scaled = ((images.float() + 1) / 2).clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
