import pytest

from bar_model.heads.baselines import BitHead, LinearHead
from bar_model.heads.head import Head
from bar_model.heads.make_head import HeadConfig, make_head
from bar_model.heads.masked_bit import MaskedBitHead


@pytest.mark.parametrize(("kind", "cls"), [("masked_bit", MaskedBitHead), ("bit", BitHead), ("linear", LinearHead)])
def test_each_kind_makes_its_head(kind: str, cls: type[Head]) -> None:
    head = make_head(HeadConfig(kind=kind, width=8, depth=1), bits=4)  # pyright: ignore[reportArgumentType]
    assert type(head) is cls
    assert head.bits == 4


def test_the_default_is_the_published_head() -> None:
    assert HeadConfig() == HeadConfig(kind="masked_bit", width=2048, depth=3)


def test_width_and_depth_reach_the_head() -> None:
    head = make_head(HeadConfig(width=8, depth=3), bits=4)
    assert isinstance(head, MaskedBitHead)
    assert len(head.blocks) == 3
    assert head.out.in_features == 8
