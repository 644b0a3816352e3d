"""The codes of a folder as a training reads them: in memory or mapped, without keys."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8


class Codes(NamedTuple):
    """The labels and packed codes of a folder, which the workers of a machine share."""

    labels: Int32[np.ndarray, " rows"]
    packed: UInt8[np.ndarray, "rows views bytes"]

    def opened(self) -> "Codes":
        """These codes; the counterpart of `MappedCodes.opened` for codes in memory."""
        return self
