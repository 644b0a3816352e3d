import math
from collections import Counter
from itertools import pairwise, product

import pytest
import torch
from scipy import stats

from bar_model.errors import BadInput
from bar_model.heads.head import BitMask
from bar_model.heads.masked_bit import MaskedBitHead
from tests.harness.heads import WIDTH, draw_tokens, head_of
from tests.harness.tiny import random_bits


def bit_probabilities(
    head: MaskedBitHead, bits: tuple[int, ...], masked: tuple[int, ...], *, temperature: float, guidance: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Guided logits of every bit, and the probability of drawing a 1 at this temperature."""
    context = torch.linspace(-1, 1, WIDTH)[None]
    mask = torch.tensor([[place in masked for place in range(head.bits)]])
    state = BitMask(mask, mask.sum(-1) / head.bits)
    values = torch.tensor([bits], dtype=torch.bool)
    with torch.no_grad():
        logits = head(context, values, state)[0]
        if guidance is not None:
            unconditional = head(-context, values, state)[0]
            logits = unconditional + guidance * (logits - unconditional)
    return logits.double(), (logits.double() / temperature).softmax(-1)[:, 1]


def enumerate_tokens(
    head: MaskedBitHead, *, temperature: float, guidance: float | None
) -> dict[tuple[int, ...], float]:
    """The distribution of a token drawn one bit a step, from the head's conditionals and the sampler's rule.

    At each step all masked bits are drawn, and the one of highest (logit + Gumbel noise) is kept: of given values the
    kept bit is distributed as softmax(chosen logit / temperature), by the Gumbel-max rule.
    """
    states = {((0,) * head.bits, tuple(range(head.bits))): 1.0}
    for step in range(head.bits):
        step_temperature = temperature * (1 - step / head.bits)
        following: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
        for (bits, masked), probability in states.items():
            logits, ones = bit_probabilities(head, bits, masked, temperature=step_temperature, guidance=guidance)
            for values in product((0, 1), repeat=len(masked)):
                each = [ones[p].item() if v else 1 - ones[p].item() for p, v in zip(masked, values, strict=True)]
                chosen = torch.stack([logits[p, v] for p, v in zip(masked, values, strict=True)])
                kept = (chosen / step_temperature).softmax(0).tolist()
                for place, value, keep in zip(masked, values, kept, strict=True):
                    left = tuple(other for other in masked if other != place)
                    decided = (*bits[:place], value, *bits[place + 1 :])
                    following[decided, left] += probability * math.prod(each) * keep  # pyright: ignore[reportArgumentType]
        states = following
    return {bits: probability for (bits, _), probability in states.items()}


@pytest.mark.parametrize(("bits", "guidance"), [(2, None), (3, 1.7), (4, None)])
def test_sampled_tokens_have_the_enumerated_distribution(bits: int, guidance: float | None) -> None:
    head = head_of("masked_bit", bits)
    assert isinstance(head, MaskedBitHead)
    # Logits around zero that depend on the other bits, so that every token is likely enough to be counted.
    head.out.requires_grad_(False).weight.mul_(0.06)
    first, _ = bit_probabilities(head, (0,) * bits, tuple(range(bits)), temperature=1.0, guidance=guidance)
    head.out.bias.sub_(first.float().flatten())
    expected = enumerate_tokens(head, temperature=1.5, guidance=guidance)
    assert sum(expected.values()) == pytest.approx(1)
    drawn = draw_tokens(head, 20_000, allocation=(1,) * bits, temperature=1.5, guidance=guidance)
    counts = Counter(tuple(row) for row in drawn.int().tolist())
    tokens = sorted(expected)
    observed = [counts[token] for token in tokens]
    assert stats.chisquare(observed, [20_000 * expected[token] for token in tokens]).pvalue > 1e-3
    # The test can fail: it rejects independent bits of the same marginals.
    marginals = drawn.double().mean(0)
    independent = [
        20_000 * math.prod(m if v else 1 - m for m, v in zip(marginals.tolist(), token, strict=True))
        for token in tokens
    ]
    assert stats.chisquare(observed, independent, sum_check=False).pvalue < 1e-3


def test_mask_counts_have_the_stated_distribution() -> None:
    """r = clamp(1 − sigmoid(0.8 n), 1/K, 1), and round(K r) bits are masked, uniformly chosen."""
    head, count, K = head_of("masked_bit", 8), 40_000, 8
    generator = torch.Generator().manual_seed(0)
    normals = torch.randn(count, generator=generator)
    mask, ratio = head.training_mask(normals, torch.rand(count, K, generator=generator))
    torch.testing.assert_close(ratio, (1 - torch.sigmoid(0.8 * normals)).clamp(1 / K, 1))
    edges = [-math.inf, *((j + 0.5) / K for j in range(1, K)), math.inf]

    def below(r: float) -> float:  # P(1 − sigmoid(0.8 n) < r)
        return 0.0 if r <= 0 else 1.0 if r >= 1 else float(stats.norm.cdf(math.log(r / (1 - r)) / 0.8))

    expected = [count * (below(high) - below(low)) for low, high in pairwise(edges)]
    counted = torch.bincount(mask.sum(-1), minlength=K + 1)
    assert counted[0] == 0
    assert stats.chisquare(counted[1:].numpy(), expected).pvalue > 1e-3
    places = mask.sum(0).numpy()
    assert stats.chisquare(places, [places.sum() / K] * K).pvalue > 1e-3


def test_loss_weighs_masked_bits_fully_and_the_others_a_tenth() -> None:
    head = head_of("masked_bit", 5)
    assert isinstance(head, MaskedBitHead)
    context, bits = torch.randn(4, WIDTH), random_bits(4, 5)
    masked = BitMask(random_bits(4, 5, seed=3), torch.full((4,), 0.5))
    logits = head(context, bits, masked)
    negative_log_likelihood = -logits.log_softmax(-1).gather(-1, bits[..., None].long())[..., 0]
    weights = torch.where(masked.mask, 1.0, 0.1)
    loss = head.loss(context, bits, masked)
    torch.testing.assert_close(loss.total / loss.weight, (negative_log_likelihood * weights).sum() / weights.sum())
    right = (logits.argmax(-1).bool() == bits) & masked.mask
    assert loss.counted.tolist()[4] == masked.mask.sum() == loss.counted.sum()
    assert loss.correct.sum() == right.sum()


def test_the_head_sees_no_masked_bit() -> None:
    head = head_of("masked_bit", 8)
    assert isinstance(head, MaskedBitHead)
    context, bits = torch.randn(3, WIDTH), random_bits(3, 8)
    masked = BitMask(random_bits(3, 8, seed=1), torch.tensor([0.3, 0.5, 0.7]))
    other = bits ^ masked.mask
    assert torch.equal(head(context, bits, masked), head(context, other, masked))


@pytest.mark.parametrize("allocation", [(3, 2), (4, 4)])
def test_an_allocation_that_does_not_sum_to_the_bits_is_refused(allocation: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="but a token has 6"):
        head_of("masked_bit", 6).check_allocation(allocation)
