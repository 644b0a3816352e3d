import torch

from bar_model.engine.engine import Engine
from bar_model.engine.prefixes import Prefixes, PrefixKind
from tests.harness.drawing import LABELS, bar_of

FLOAT32 = torch.float32


def test_prefixes_are_made_once_and_forgotten_by_age() -> None:
    bar, made = bar_of(), []
    prefixes = Prefixes(bar.transformer, dropped_class=bar.dropped_class, max_bytes=10**9)
    one = prefixes.of(PrefixKind(2, 0)).num_bytes
    few = Prefixes(bar.transformer, dropped_class=bar.dropped_class, max_bytes=3 * one)
    make = few._make
    few._make = lambda kind: made.append(kind.class_index) or make(kind)
    for name in (5, 0, 1, 0, 2, 0, 1, 5):
        kept = few.of(PrefixKind(name, 3))
        assert few.num_bytes <= 3 * one
        for part, other in zip(kept, prefixes.of(PrefixKind(name, 3)), strict=True):
            assert torch.equal(part, other)
    assert made == [5, 0, 1, 2, 1]  # 2 drove out 1; the dropped class, 5, was the oldest and stayed


def test_without_room_for_prefixes_the_same_is_drawn() -> None:
    bar = bar_of()
    engine = Engine(bar, dtype=FLOAT32, prefix_bytes=0)
    assert torch.equal(engine.generate(LABELS), bar.generate(LABELS))
    assert engine._prefixes.num_bytes == 0
