"""How many bits a tokenizer spends on an image:  python -m bar_model.bit_budget 256 --channels 4

This is the paper's measure for comparing tokenizers of different kinds (docs/method.md, section 1). A discrete
tokenizer spends the logarithm of its codebook on each token, a continuous one 16 bits on each channel.
"""

import argparse
import math
from dataclasses import dataclass

from bar_model.errors import BadInput

_BITS_OF_A_LATENT = 16


@dataclass(frozen=True, kw_only=True)
class Discrete:
    """A tokenizer that spends one entry of a codebook on each `downsampling` × `downsampling` pixels."""

    downsampling: int
    codebook_size: int

    def __post_init__(self) -> None:
        if self.codebook_size < 2:
            raise BadInput(f"codebook of {self.codebook_size}: must have at least 2 entries")

    @property
    def bits_per_token(self) -> int:
        """The bits that name one entry of the codebook, rounded up."""
        return (self.codebook_size - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Continuous:
    """A tokenizer that spends `channels` latents on each `downsampling` × `downsampling` pixels."""

    downsampling: int
    channels: int

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise BadInput(f"{self.channels} channels: must be at least 1")

    @property
    def bits_per_token(self) -> int:
        """The bits of a token's latents."""
        return _BITS_OF_A_LATENT * self.channels


@dataclass(frozen=True, kw_only=True)
class PublishedPoint:
    """A tokenizer of the paper, with its published rFID on ImageNet at 256 px."""

    name: str
    tokenizer: Discrete | Continuous
    rfid: float


PUBLISHED_POINTS = (
    PublishedPoint(name="SD-VAE", tokenizer=Continuous(downsampling=8, channels=4), rfid=0.62),
    PublishedPoint(name="MAR-VAE", tokenizer=Continuous(downsampling=16, channels=16), rfid=0.53),
    PublishedPoint(name="BAR-FSQ, C = 2^32", tokenizer=Discrete(downsampling=16, codebook_size=2**32), rfid=0.33),
)


def bits_per_image(tokenizer: Discrete | Continuous, image_size: int) -> int:
    """The bits of one square image of `image_size` pixels a side.

    Raises:
        BadInput: the image does not divide into whole tokens.
    """
    if tokenizer.downsampling < 1 or image_size % tokenizer.downsampling or image_size < 1:
        raise BadInput(f"an image of {image_size} px does not divide into tokens of {tokenizer.downsampling} px")
    return (image_size // tokenizer.downsampling) ** 2 * tokenizer.bits_per_token


def main() -> None:
    """The command: print the budget of a tokenizer beside the published ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_size", type=int, help="pixels a side")
    parser.add_argument("--downsampling", type=int, default=16, help="pixels a side of a token (default: 16)")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--bits", type=int, help="bits of a token, of a discrete tokenizer")
    kind.add_argument("--codebook-size", type=int, help="entries of the codebook, of a discrete tokenizer")
    kind.add_argument("--channels", type=int, help="latents of a token, of a continuous tokenizer")
    arguments = parser.parse_args()
    try:
        if arguments.channels is not None:
            tokenizer = Continuous(downsampling=arguments.downsampling, channels=arguments.channels)
        else:
            size = arguments.codebook_size if arguments.bits is None else 2**arguments.bits
            tokenizer = Discrete(downsampling=arguments.downsampling, codebook_size=size)
        print(table(tokenizer, arguments.image_size))
    except BadInput as error:
        parser.exit(2, f"error: {error}\n")


def table(tokenizer: Discrete | Continuous, image_size: int) -> str:
    """The budgets of a tokenizer and of the published points as text, one a line."""
    lines = [("this one", bits_per_image(tokenizer, image_size), "")]
    lines += [(p.name, bits_per_image(p.tokenizer, image_size), f"{p.rfid:.2f}") for p in PUBLISHED_POINTS]
    head = f"{'tokenizer':20} {f'bits at {image_size} px':>16} {'log2':>6}  published rFID at 256 px"
    return "\n".join(
        [head, *(f"{name:20} {bits:16,} {math.log2(bits):6.1f}  {rfid}".rstrip() for name, bits, rfid in lines)]
    )


if __name__ == "__main__":
    main()
