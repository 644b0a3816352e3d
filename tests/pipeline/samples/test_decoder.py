"""Codes are decoded in the batches that they were drawn in, whatever range of them is asked for."""

import numpy as np
import pytest
import torch

from bar_model.bits import pack_bits
from pipeline.samples.decoder import CodeDecoder, whole_batches
from tests.harness.drawn import make_tokenizer
from tests.harness.tiny import random_bits


@pytest.mark.parametrize(
    ("first", "last", "starts", "place"),
    [(0, 7, [0, 4], slice(0, 8)), (5, 5, [4], slice(1, 2)), (3, 8, [0, 4, 8], slice(3, 9))],
)
def test_batches_begin_at_multiples_of_their_size(first: int, last: int, starts: list[int], place: slice) -> None:
    batches, asked = whole_batches(np.arange(first, last + 1), 4)
    assert [list(batch) for batch in batches] == [list(range(start, start + 4)) for start in starts]
    assert asked == place
    np.testing.assert_array_equal(np.concatenate(batches)[asked], np.arange(first, last + 1))


def test_a_range_decodes_to_its_part_of_the_whole() -> None:
    torch.manual_seed(0)
    decoder = CodeDecoder(make_tokenizer(), batch_size=4)
    codes = pack_bits(random_bits(8, 96)).numpy()
    whole = decoder(np.arange(8), codes)
    assert whole.shape == (8, 16, 16, 3)
    # A batch's other images do not change an image, so zeros may stand for what is not asked for.
    np.testing.assert_array_equal(decoder(np.arange(3, 6), codes[3:6]), whole[3:6])
