import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bar_model.bits import CodeShape, merge_patches, pack_bits, split_patches, unpack_bits
from bar_model.errors import BadInput


@given(
    st.integers(1, 40).flatmap(
        lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=5)
    )
)
def test_packing_is_that_of_numpy_and_comes_back(rows: list[list[bool]]) -> None:
    bits = torch.tensor(rows)
    packed = pack_bits(bits)
    assert np.array_equal(packed.numpy(), np.packbits(bits.numpy(), axis=-1))
    assert torch.equal(unpack_bits(packed, bits.shape[1]), bits)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_merge_and_split(patch: int) -> None:
    bits = torch.rand(3, 16, 5) < 0.5
    merged = merge_patches(bits, patch)
    assert merged.shape == (3, 16 // patch**2, 5 * patch**2)
    assert torch.equal(split_patches(merged, patch), bits)


def test_a_merged_token_holds_row_column_bit() -> None:
    bits = torch.zeros(1, 16, 2, dtype=torch.bool)
    bits[0, 4 * 1 + 2, 1] = True  # row 1, column 2: in the patch at (0, 1), its row 1, column 0
    merged = merge_patches(bits, 2)
    assert merged[0].nonzero().tolist() == [[1, (1 * 2 + 0) * 2 + 1]]


def test_code_shape_counts() -> None:
    published = CodeShape(grid=16, bits=16)
    assert (published.num_tokens, published.num_bits, published.num_bytes) == (256, 4096, 512)
    assert CodeShape(grid=3, bits=3).num_bytes == 4  # 27 bits
    with pytest.raises(BadInput, match="grid 0"):
        CodeShape(grid=0, bits=1)


def test_tokens_that_form_no_square_are_refused() -> None:
    with pytest.raises(BadInput, match="15 tokens"):
        merge_patches(torch.zeros(1, 15, 2, dtype=torch.bool), 1)
