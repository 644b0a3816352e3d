"""Which classes are drawn: a list of labels that images take in turn, by number or by name, or from a file."""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from jaxtyping import Int32, Int64

from bar_model.errors import BadInput, one_line
from pipeline.storage import local_copy

_EXPECTED = (
    "expected: classes as a JSON list such as [207, 360], a .txt file of one a line, or a .npy array of integers"
)

ClassList = Sequence[int | str]
"""Classes by number (as text, too) or by name."""


@dataclass(frozen=True, eq=False)
class LabelSchedule:
    """Image i is of class `values[i mod their number]`."""

    values: Int32[np.ndarray, " period"]

    @classmethod
    def checked(cls, values: Int64[np.ndarray, " period"], num_classes: int, where: str) -> "LabelSchedule":
        """The schedule of these classes.

        Raises:
            BadInput: one is no class of the generator; the message names its place, counted from 1.
        """
        outside = np.flatnonzero((values < 0) | (values >= num_classes))
        if len(outside):
            raise BadInput(
                f"{where}, entry {outside[0] + 1:,}: {values[outside[0]]}; the generator knows the classes 0 to "
                f"{num_classes - 1}"
            )
        return cls(values.astype(np.int32))

    def of(self, indices: Int64[np.ndarray, " images"]) -> Int32[np.ndarray, " images"]:
        """The classes of images, by the images' numbers."""
        return self.values[indices % len(self.values)]

    @property
    def schedule(self) -> str:
        """A text that names the schedule and differs from that of any other: "cyclic, 0 to 999"."""
        num = len(self.values)
        if np.array_equal(self.values, np.arange(num)):
            return f"cyclic, 0 to {num - 1}"
        digest = hashlib.sha256(self.values.astype("<i4").tobytes()).hexdigest()[:16]
        return f"a list of {num:,} in turn, SHA-256 {digest}"


def make_schedule(
    listed: ClassList | None, file: str | None, num_classes: int, classes: Mapping[str, int] | None = None
) -> LabelSchedule:
    """The schedule of the listed classes, of those in a file (.json, .txt or .npy), or else of all in order.

    `classes` are labels by name. Without it, only numbers are understood.

    Raises:
        BadInput: the file holds no list of classes, or one of them is no class of the generator.
    """
    if file is not None:
        return LabelSchedule.checked(_read(file, classes), num_classes, f"labels_file {file}")
    if listed is None:
        return LabelSchedule.checked(np.arange(num_classes), num_classes, "labels")
    try:
        values = _numbers(listed, "entry", classes)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"labels, {error}") from error
    return LabelSchedule.checked(values, num_classes, "labels")


def _read(url: str, classes: Mapping[str, int] | None) -> Int64[np.ndarray, " period"]:
    read = {".json": _from_json, ".txt": _from_text, ".npy": _from_array}.get(PurePath(url).suffix.lower())
    if read is None:
        raise BadInput(f"labels_file {url}: of no kind that is read; {_EXPECTED}")
    try:
        values = read(local_copy(url).read_bytes(), classes)
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # JSON may be nested too deeply, and numpy interprets the header of an array.
        raise BadInput(f"labels_file {url}: {one_line(error) or type(error).__name__}; {_EXPECTED}") from error
    if not len(values):
        raise BadInput(f"labels_file {url}: holds none; {_EXPECTED}")
    return values


def _numbers(listed: ClassList, unit: str, classes: Mapping[str, int] | None) -> Int64[np.ndarray, " period"]:
    """Labels as numbers.

    Raises:
        ValueError: one is neither a number nor a known name; the message names it, counted in `unit`s from 1.
    """
    labels = []
    for place, given in enumerate(listed, start=1):
        known = (classes or {}).get(str(given), given)  # As for tokenizing, a name may look like a number.
        try:
            labels.append(int(known))
        except ValueError:
            remedy = "none of that name is in the map" if classes else "a map of names makes numbers of them: --classes"
            raise ValueError(f"{unit} {place:,}, {str(given)[:50]!r}, is no integer ({remedy})") from None
    return np.array(labels, np.int64)


def _from_json(data: bytes, classes: Mapping[str, int] | None) -> np.ndarray:
    labels = json.loads(data)
    if not isinstance(labels, list):
        raise ValueError("is no list")
    for place, label in enumerate(labels, start=1):
        if type(label) not in (int, str):
            raise ValueError(f"entry {place:,}, {label!r}, is no integer")
    return _numbers(labels, "entry", classes)


def _from_text(data: bytes, classes: Mapping[str, int] | None) -> np.ndarray:
    return _numbers([line.strip() for line in data.decode("utf-8-sig").rstrip().splitlines()], "line", classes)


def _from_array(data: bytes, classes: object) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        # numpy takes memory for what a header claims before it reads on.
        raise ValueError(f"is an array of {dtype} and shape {shape} in {len(data):,} bytes")
    labels = np.load(io.BytesIO(data), allow_pickle=False)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"is an array of {labels.dtype} and shape {labels.shape}")
    return labels.astype(np.int64)
