"""The tokenizer BAR-FSQ: from images to bits and back (docs/method.md, section 2)."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.ranges import Range, Size, check_ranges
from bar_model.tokenizer.decoder import Decoder, DecoderConfig
from bar_model.tokenizer.encoder import Encoder, EncoderConfig
from bar_model.tokenizer.quantizer import BinaryQuantizer, bits_to_signs, quantize, signs_to_bits

BROKEN_IMAGES = "images hold NaN: the weights or the sampling that made them are broken"
"""The message that is raised for NaN, which a byte would turn into a colour."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The configuration of a tokenizer.

    Images are square with `image_size` pixels a side. Each `patch` × `patch` pixels become one token of `bits` bits.
    """

    image_size: Annotated[int, Range(least=1, most=2**14)]
    patch: Size
    bits: Annotated[int, Range(least=1, most=256)]
    encoder: EncoderConfig
    decoder: DecoderConfig
    balanced_start: bool
    """True from scratch: half of the bits are 1 at the start of training, and not all of them."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.image_size % self.patch:
            raise BadInput(f"images of {self.image_size} px do not divide into patches of {self.patch} px")

    @property
    def codes(self) -> CodeShape:
        """The shape of the codes that this tokenizer makes."""
        return CodeShape(grid=self.image_size // self.patch, bits=self.bits)


class TokenizerOutput(NamedTuple):
    """The input of the losses; `semantics` are the frozen encoder's features as the decoder predicts them."""

    reconstruction: Float[Tensor, "batch 3 height width"]
    bits: Bool[Tensor, "batch tokens bits"]
    semantics: Float[Tensor, "batch tokens features"] | None


class Tokenizer(nn.Module):
    """Turns images in [-1, 1] into bits in raster order, and bits into images.

    `decode_only` leaves out the encoder, which has most of the parameters. The frozen copy of the encoder, the target
    of the semantic loss, is not part of the tokenizer but of the loss (`FrozenNetworks` in `loss.py`).
    """

    encoder: Encoder
    """Missing if the tokenizer only decodes."""

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
        """Whether the tokenizer was made without its encoder."""
        return "encoder" not in self._modules

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> TokenizerOutput:
        """Reconstruct images; gradients pass the rounding unchanged.

        Raises:
            BadInput: the images have another size, or the tokenizer only decodes.
        """
        signs = quantize(self.pre_quantise(images))
        decoded = self.decoder(self.quantizer.tokens(signs), semantics=True)
        return TokenizerOutput(decoded.images, signs_to_bits(signs), decoded.semantics)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, "batch tokens bits"]:
        """The bits of images in [-1, 1].

        Raises:
            BadInput: the images have another size, or the tokenizer only decodes.
        """
        return signs_to_bits(quantize(self.pre_quantise(images)))

    @torch.no_grad()
    def decode(self, bits: Bool[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch 3 height width"]:
        """The images of these bits, around [-1, 1] and not clamped.

        Raises:
            BadInput: the bits have another shape.
        """
        return self.decode_by(self.decoder, bits)

    @torch.no_grad()
    def decode_by(
        self, decoder: Decoder, bits: Bool[Tensor, "batch tokens bits"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decode as `decode` does, with a decoder that replaces this tokenizer's own.

        Raises:
            BadInput: the bits have another shape.
        """
        expected = (self.config.codes.num_tokens, self.config.bits)
        if bits.shape[1:] != expected:
            raise BadInput(
                f"bits of shape {tuple(bits.shape)}: this tokenizer decodes (batch, {expected[0]}, {expected[1]})"
            )
        return decoder(self.quantizer.tokens(bits_to_signs(bits)), semantics=False).images

    def pre_quantise(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens bits"]:
        """The float32 values z; a bit says whether z reaches the quantiser's threshold.

        Raises:
            BadInput: the images have another size, or the tokenizer only decodes.
        """
        size = self.config.image_size
        if images.shape[1:] != (3, size, size):
            raise BadInput(f"images of shape {tuple(images.shape)}: this tokenizer encodes (batch, 3, {size}, {size})")
        if self.only_decodes:
            raise BadInput("this tokenizer was loaded to decode only: load it whole to encode")
        return self.quantizer.pre_quantise(self.encoder(images))


def to_uint8(images: Float[Tensor, "batch 3 height width"]) -> UInt8[Tensor, "batch height width 3"]:
    """Images in [-1, 1] as bytes, clamped and truncated as for the published figures (docs/method.md, section 4)."""
    scaled = ((images.float() + 1) / 2).clamp(0, 1) * 255
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
