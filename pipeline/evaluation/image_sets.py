"""Sets of images that are judged or compared with: drawn samples, `arr_0` of an npz file, a folder of class folders."""

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from bar_model.errors import BadInput, interpreting
from pipeline.execution.manifest import FileEntry
from pipeline.execution.records import Records
from pipeline.execution.unit import Row, Unit
from pipeline.features.shard import COLUMN
from pipeline.images.codec import CROP_RULE, MAX_PIXELS
from pipeline.images.read import read_images, reader_memory
from pipeline.images.source import ListedImage, Source, in_portions
from pipeline.images.source_config import SourceConfig
from pipeline.images.survey import SurveyedSource
from pipeline.redaction import redacted_values
from pipeline.samples.folder import SampleFolder
from pipeline.storage import Folder, absolute, local_copy

IMAGES_ARRAY = "arr_0"
"""The array of images in an npz file, as the published evaluation reads it: (N, H, W, 3) uint8."""
UNIT_SIZE, UNIT_PIXELS = 500, 500 * 256**2
"""The most images that are read together, and their pixels: no more than 100 MB."""


class ImageSet(Protocol):
    """Images of one size, in a fixed order. The plan depends on nothing but what is stored."""

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the set from others, beside its plan (JSON values)."""
        ...

    @property
    def image_size(self) -> int:
        """The side of all images in pixels."""
        ...

    def plan(self) -> Iterator[Unit]:
        """The units in which the images are read, in order."""
        ...

    def read(self, unit: Unit) -> Row:
        """A unit -> `images` (N, H, W, 3) uint8, and `records` (JSON of `Records`)."""
        ...


@dataclass(frozen=True)
class SampleImageSet:
    """Drawn samples by their index. A unit is one of their shards."""

    samples: SampleFolder
    further: tuple[SampleFolder, ...] = ()
    """Folders of the samples with the next numbers, drawn alike."""

    @property
    def parts(self) -> tuple[SampleFolder, ...]:
        """All folders of the set, in the order of their numbers."""
        return (self.samples, *self.further)

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the set from others, beside its plan (JSON values)."""
        first, *others = (part.manifest.fingerprint for part in self.parts)
        return {"kind": "samples", "fingerprint": first, **({"further": others} if others else {})}

    @property
    def networks(self) -> Mapping[str, Any] | None:
        """The identity of the networks whose features of all images are kept; None where there are none."""
        return self.samples.networks if all(each.networks == self.samples.networks for each in self.further) else None

    @property
    def image_size(self) -> int:
        """The side of all images in pixels."""
        return self.samples.drawing.image_size

    def plan(self) -> Iterator[Unit]:
        """The units in which the images are read, in order."""
        files = ((part, file) for part, folder in enumerate(self.parts) for file in folder.manifest.files)
        for index, (part, file) in enumerate(files):
            yield Unit(index=index, size=file.rows, payload={**file._asdict(), **({"part": part} if part else {})})

    def read(self, unit: Unit) -> Row:
        """The images of a unit, and their records."""
        indices, labels, images, _ = self._part(unit).shard(_file(unit))
        records = Records([str(index) for index in indices.tolist()], labels.tolist())
        return {"images": images, "records": records.to_json()}

    def read_features(self, unit: Unit) -> Row:
        """Reads a unit as `read` does, with the features that `networks` saw in place of the images."""
        keys, features, _ = self._part(unit).features(_file(unit))
        columns = {f"{COLUMN}{name}": each for name, each in features.items()}
        return {**columns, "records": Records(keys).to_json()}

    def _part(self, unit: Unit) -> SampleFolder:
        return self.parts[unit.payload.get("part", 0)]


@dataclass(frozen=True)
class NpzImageSet:
    """The array `arr_0` of an npz file, read in pieces and never unpickled."""

    url: str

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the set from others, beside its plan (JSON values)."""
        return {"kind": "npz", "sha256": self.sha256}

    @property
    def image_size(self) -> int:
        """The side of all images in pixels."""
        return self.shape[1]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays in the file."""
        with self._opened() as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, H, W, 3) of the images.

        Raises:
            BadInput: the file holds no such array of bytes.
        """
        if IMAGES_ARRAY not in self.names:
            raise BadInput(f"{self.url} holds no pictures ({IMAGES_ARRAY}), only {', '.join(self.names)}")
        with self._opened() as archive:
            shape, is_fortran, dtype, num_bytes = read_array_header(archive, IMAGES_ARRAY)
        is_square = len(shape) == 4 and shape[3] == 3 and shape[1] == shape[2] and all(shape)
        if dtype != np.uint8 or is_fortran or not is_square:
            raise BadInput(
                f"{self.url}: {IMAGES_ARRAY} is {dtype} {shape}{' in Fortran order' * is_fortran}; square pictures "
                "(N, size, size, 3) of uint8 are expected"
            )
        if num_bytes != math.prod(shape):
            raise BadInput(f"{self.url} is damaged: {IMAGES_ARRAY} has {num_bytes:,} bytes for shape {shape}")
        return shape

    @property
    def content(self) -> tuple[int, int]:
        """Size and checksum of the images, which are the same in every file of the same images."""
        with self._opened() as archive:
            member = archive.getinfo(f"{IMAGES_ARRAY}.npy")
        return member.file_size, member.CRC

    def check_content(self) -> None:
        """Reads all images once and compares them with the checksum that the file has of them.

        Raises:
            BadInput: they are others.
        """
        with self._opened() as archive, archive.open(f"{IMAGES_ARRAY}.npy") as member:
            while member.read(2**24):
                pass

    def plan(self) -> Iterator[Unit]:
        """The units in which the images are read, in order."""
        size = _unit_size(self.image_size)
        for index, start in enumerate(range(0, self.shape[0], size)):
            stop = min(start + size, self.shape[0])
            yield Unit(index=index, size=stop - start, payload=[start, stop])

    def read(self, unit: Unit) -> Row:
        """The images of a unit, and their records."""
        start, stop = unit.payload
        num, *pixels = self.shape
        size = int(np.prod(pixels))
        with self._opened() as archive, archive.open(f"{IMAGES_ARRAY}.npy") as member:
            header = archive.getinfo(f"{IMAGES_ARRAY}.npy").file_size - num * size
            member.seek(header + start * size)
            data = member.read((stop - start) * size)
        return {
            "images": np.frombuffer(data, np.uint8).reshape(-1, *pixels),
            "records": Records(list(map(str, range(start, stop)))).to_json(),
        }

    @property
    def _path(self) -> Path:
        return local_copy(self.url)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        with reading_npz(self.url), zipfile.ZipFile(self._path) as archive:
            yield archive


@dataclass(frozen=True)
class FolderImageSet:
    """The images of class folders, cropped to one size as for tokenizing."""

    source: Source
    image_size: int
    max_pixels: int = MAX_PIXELS

    @property
    def read_memory(self) -> int:
        """The bytes that reading a unit takes at most."""
        return reader_memory(_unit_size(self.image_size), self.image_size, self.max_pixels)

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the set from others, beside its plan (JSON values)."""
        return {**redacted_values(self.source.identity), "image_size": self.image_size, "crop_rule": CROP_RULE}

    def plan(self) -> Iterator[Unit]:
        """The units in which the images are read, in order."""
        for index, pictures in enumerate(in_portions(self.source.listing(), _unit_size(self.image_size))):
            yield Unit(index=index, size=len(pictures), payload=pictures)

    def read(self, unit: Unit) -> Row:
        """The images of a unit, and their records."""
        listed = [ListedImage(*fields) for fields in unit.payload]
        return read_images(self.source, listed, self.image_size, self.max_pixels)


class ArrayHeader(NamedTuple):
    """What the file of an array says of it, and the bytes that follow."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    num_bytes: int


def read_array_header(archive: zipfile.ZipFile, name: str) -> ArrayHeader:
    """The header of an array in an npz file; it may raise anything, as numpy takes it for a Python literal."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return ArrayHeader(*read(member), archive.getinfo(f"{name}.npy").file_size - member.tell())


@contextmanager
def reading_npz(url: str) -> Iterator[None]:
    """While the block lasts, what the readers of archives and arrays raise becomes a line that names the file.

    Raises:
        BadInput: the file is no npz file, or damaged.
    """
    with interpreting(f"{url} is no npz file, or damaged", "copy or download it again"):
        yield


def open_image_set(
    url: str, image_size: int | None = None, *, tokenizer: str | None = None, sources: SourceConfig | None = None
) -> ImageSet:
    """The set of images at a path or URL.

    A folder of class folders needs an image size, because it has none of its own. The tokenizer decodes samples that
    were kept as codes alone; `sources` says how images are read from other sources.

    Raises:
        BadInput: there is no such set, or its images have another size.
    """
    if url.lower().endswith(".npy"):
        raise BadInput(
            f"{url} is a single array: store it as np.savez(FILE, {IMAGES_ARRAY}=images), and name that npz file"
        )
    if url.lower().endswith(".npz"):
        image_set: ImageSet = NpzImageSet(absolute(url))
    elif Folder(url).list("manifest-*.json"):
        image_set = SampleImageSet(SampleFolder.open(url, absolute(tokenizer)))
    elif image_size is not None:
        settings = sources or SourceConfig()
        source = settings.open(url)
        print(source.summary, flush=True)
        image_set = FolderImageSet(SurveyedSource(source, url), image_size, settings.max_pixels)
    else:
        raise BadInput(f"{url} holds no finished samples: give a folder of samples, or an npz file of {IMAGES_ARRAY}")
    if image_size not in (None, image_set.image_size):
        raise BadInput(f"{url} holds pictures of {image_set.image_size} px, but {image_size} px are needed")
    return image_set


def image_set_fingerprint(image_set: ImageSet) -> str:
    """A fingerprint of a set: 16 hexadecimal digits of the SHA-256 over everything that its images depend on."""
    digest = hashlib.sha256(json.dumps(image_set.identity, sort_keys=True).encode())
    for unit in image_set.plan():
        digest.update(unit.digest.encode())
    return digest.hexdigest()[:16]


def _file(unit: Unit) -> FileEntry:
    """The file of samples that a unit is."""
    return FileEntry.of({name: value for name, value in unit.payload.items() if name != "part"})


def _unit_size(image_size: int) -> int:
    return max(1, min(UNIT_SIZE, UNIT_PIXELS // image_size**2))
