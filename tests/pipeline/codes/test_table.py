"""Codes in memory take the place of mapped ones."""

import numpy as np

from pipeline.codes.table import Codes


def test_codes_in_memory_are_opened_already() -> None:
    codes = Codes(np.zeros(3, np.int32), np.zeros((3, 2, 4), np.uint8))
    assert codes.opened() is codes
