"""What the tests of the engine draw."""

import torch

from bar_model.generator.bar import Bar
from bar_model.heads.head import KnownBits
from tests.harness.tiny import make_bar, random_bits, tiny_config

LABELS = torch.tensor([0, 1, 2, 2, 4, 5, 5, 0])  # 5 is the dropped class


def bar_of(**changes) -> Bar:
    return make_bar(tiny_config(allocation=(1, 2, 3), **changes))


def two_requests(**changes) -> list[dict]:
    """Batches of the same size that have nothing else in common."""
    known = [KnownBits(random_bits(8, 16, 6, seed=seed), random_bits(8, 16, 6, seed=seed + 1)) for seed in (1, 3)]
    first = {"labels": LABELS, "seed": 3, "images": torch.tensor([7, 0, 3, 100, 2**40, 5, 1, 2]), "known": known[0]}
    second = {"labels": LABELS.flip(0), "seed": 4, "images": torch.arange(8) + 50, "known": known[1]}
    return [first | changes, second | changes]
