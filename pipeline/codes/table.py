"""Codes of a folder as a training holds them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8


class Codes(NamedTuple):
    """A code folder as training holds it: packed, and shared by the workers of a machine."""

    labels: Int32[np.ndarray, " rows"]
    packed: UInt8[np.ndarray, "rows views bytes"]

    def opened(self) -> "Codes":
        """As `MappedCodes.opened`: these are there already."""
        return self
