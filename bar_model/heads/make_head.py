"""Which heads there are."""

from dataclasses import dataclass
from typing import Literal

from bar_model.heads.baselines import BitHead, LinearHead
from bar_model.heads.head import Head
from bar_model.heads.masked_bit import MaskedBitHead


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """`width` is also that of the contexts; `depth` counts the residual blocks of the masked bit head."""

    kind: Literal["masked_bit", "bit", "linear"] = "masked_bit"
    width: int = 2048
    depth: int = 3


def make_head(config: HeadConfig, *, bits: int) -> Head:
    match config.kind:
        case "masked_bit":
            return MaskedBitHead(bits, width=config.width, depth=config.depth)
        case "bit":
            return BitHead(bits, width=config.width)
        case "linear":
            return LinearHead(bits, width=config.width)
