import math
from collections import Counter
from itertools import product

import pytest
import torch
from scipy import stats

from bar_model.errors import BadInput
from bar_model.heads.baselines import LinearHead
from bar_model.heads.head import Contexts, TokenSampling
from bar_model.heads.make_head import HeadConfig, make_head
from bar_model.noise import CounterNoise
from tests.harness.heads import WIDTH, draw_tokens, head_of


@pytest.mark.parametrize("kind", ["bit", "linear"])
def test_the_baselines_draw_from_their_logits(kind: str) -> None:
    head = head_of(kind, 3)
    drawn = draw_tokens(head, 20_000, allocation=(3,))
    counts = Counter(tuple(row) for row in drawn.int().tolist())
    context = torch.linspace(-1, 1, WIDTH)[None]
    tokens = list(product((0, 1), repeat=3))
    with torch.no_grad():
        if isinstance(head, LinearHead):
            probabilities = head.out(context)[0].softmax(-1).tolist()
        else:
            ones = head(context)[0].softmax(-1)[:, 1].tolist()  # pyright: ignore[reportCallIssue]
            probabilities = [math.prod(p if v else 1 - p for p, v in zip(ones, t, strict=True)) for t in tokens]
    expected = torch.tensor(probabilities, dtype=torch.float64)
    observed = [counts[token] for token in tokens]
    assert stats.chisquare(observed, (20_000 * expected / expected.sum()).numpy()).pvalue > 1e-3


def test_a_linear_head_that_can_not_fit_is_refused_with_its_bytes() -> None:
    with pytest.raises(BadInput, match=r"linear head over 2\^40 entries need 68 TiB.*masked bit head"):
        make_head(HeadConfig(kind="linear", width=WIDTH), bits=40)
    head = head_of("linear", 16)
    with pytest.raises(BadInput, match=r"logits of 100000000 tokens over 2\^16 entries need 47.7 TiB"):
        head.sample(
            Contexts(torch.zeros(1, WIDTH).expand(100_000_000, -1)),
            TokenSampling(1.0, 1.0, (16,)),
            noise=CounterNoise(0, torch.arange(1)).draw,  # pyright: ignore[reportArgumentType]
        )
