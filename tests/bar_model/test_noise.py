import pytest
import torch
from scipy import stats

from bar_model.errors import BadInput
from bar_model.noise import CounterNoise, Stream, _philox, gumbel, normal, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123's known answers (kat_vectors, philox4x32 10)
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    words = _philox(tuple(torch.tensor(word) for word in counter), key)
    assert tuple(word.item() for word in words) == expected


def test_uniforms_are_uniform_and_streams_independent() -> None:
    index, zero = torch.arange(20_000), torch.zeros((), dtype=torch.int64)
    first = uniforms(7, Stream.SAMPLING, index, zero, zero, zero)
    other_stream = uniforms(7, Stream.SAMPLING_ORDER, index, zero, zero, zero)
    for values in (*first, other_stream.a):
        assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
        assert values.min() >= 0
        assert values.max() < 1
    pairs = torch.stack((*first, other_stream.a))
    correlations = torch.corrcoef(pairs)
    assert (correlations - torch.eye(5)).abs().max() < 0.03


def test_normal_and_gumbel_have_their_distributions() -> None:
    index, zero = torch.arange(20_000), torch.zeros((), dtype=torch.int64)
    draw = uniforms(3, Stream.TRAINING_MASK, index, zero, zero, zero)
    assert stats.kstest(normal(draw).numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(gumbel(draw.c).numpy(), "gumbel_r").pvalue > 1e-3
    assert gumbel(torch.tensor([0.0, 1.0])).isfinite().all()


def test_an_images_noise_is_its_own() -> None:
    images = torch.tensor([5, 2**33 + 5, 0])
    together = CounterNoise(1, images).draw(3, 2, 8)
    alone = CounterNoise(1, images[1:2]).draw(3, 2, 8)
    assert torch.equal(together.values[1:2], alone.values)
    assert torch.equal(together.confidence[1:2], alone.confidence)
    others = [CounterNoise(2, images).draw(3, 2, 8), CounterNoise(1, images).draw(2, 2, 8)]
    others.append(CounterNoise(1, images).draw(3, 1, 8))
    for other in others:
        assert not (other.values == together.values).any()
    assert not (together.values[0] == together.values[1]).any()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_beyond_32_bits_is_refused(seed: int) -> None:
    with pytest.raises(BadInput, match="seed"):
        uniforms(seed, Stream.SAMPLING, *[torch.zeros((), dtype=torch.int64)] * 4)


def test_a_tape_holds_the_counted_noise() -> None:
    counted = CounterNoise(9, torch.tensor([5, 2**40]))
    tape = counted.tape(range(3), 2, 4)
    for token in range(3):
        for step in range(2):
            for one, other in zip(tape.draw(token, step, 4), counted.draw(token, step, 4), strict=True):
                assert torch.equal(one, other)
