"""The heads by name."""

from dataclasses import dataclass
from typing import Literal

from bar_model.heads.baselines import BitHead, LinearHead
from bar_model.heads.head import Head
from bar_model.heads.masked_bit import MaskedBitHead
from bar_model.ranges import Depth, Size, check_ranges


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The kind of a head and its size; the defaults are the published head (docs/method.md, section 4).

    `width` is also the width of the contexts. `depth` counts the residual blocks of the masked bit head; the other
    heads have none.
    """

    kind: Literal["masked_bit", "bit", "linear"] = "masked_bit"
    width: Size = 2048
    depth: Depth = 3

    def __post_init__(self) -> None:
        check_ranges(self)


def make_head(config: HeadConfig, *, bits: int) -> Head:
    """A new head of the configured kind for tokens of this many bits.

    Raises:
        BadInput: a linear head whose weights do not fit into memory.
    """
    match config.kind:
        case "masked_bit":
            return MaskedBitHead(bits, width=config.width, depth=config.depth)
        case "bit":
            return BitHead(bits, width=config.width)
        case "linear":
            return LinearHead(bits, width=config.width)
