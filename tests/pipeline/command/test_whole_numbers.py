"""Whole numbers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.command.whole_numbers import whole_number


@given(st.integers(-(2**60), 2**60))
def test_digits_are_exact_at_any_length(number: int) -> None:
    assert whole_number(str(number)) == number
    assert whole_number(f"{number:_}") == number


@given(st.integers(-(2**53), 2**53))
def test_the_scientific_way_gives_the_same_number(number: int) -> None:
    assert whole_number(f"{number:.20e}") == number


@pytest.mark.parametrize("text", ["", "five", "1.5", "1e-1", "nan", "inf", "1e17", "1e400", "0x10"])
def test_what_is_none_or_may_be_another_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no whole number"):
        whole_number(text)
