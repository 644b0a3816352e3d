"""Pictures as a tokenizer is trained on them: a random crop of each, mirrored at random, from memory or from files."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from bar_model.errors import BadInput
from pipeline.execution.manifest import Inputs
from pipeline.images.class_folders import ImageFolder, read_file
from pipeline.images.codec import BadImage, resize_image
from pipeline.storage import Folder
from pipeline.training.step.batches import Rows

Picture = UInt8[np.ndarray, "height width 3"]

DECODERS = 16


class Listing(NamedTuple):
    """The pictures of a folder by name, and what tells them from others."""

    url: str
    keys: list[str]
    inputs: Inputs


class Pictures(NamedTuple):
    """Pictures whose shorter side is `size`: in memory (None for a broken one), or else to be read when wanted."""

    listing: Listing
    size: int
    decoded: list[Picture | None] | None

    def opened(self) -> "Pictures":
        """As `MappedCodes.opened`: these are there already."""
        return self


def list_pictures(url: str) -> Listing:
    """The pictures of a folder of class folders.  Raises: BadInput where there are none."""
    listed = [(each.key, each.label, each.size, each.version) for each in ImageFolder.open(url).listing()]
    if not listed:
        raise BadInput(f"{url} holds no pictures: check the path, and the names of the files (.jpg, .png, …)")
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
    return Listing(Folder(url).url, [key for key, *_ in listed], Inputs(len(listed), digest))


def open_pictures(listing: Listing, size: int, *, memory_gb: float) -> tuple[Pictures, list[str]]:
    """Decode the pictures if square ones would fit into `memory_gb`; says what is wrong with those that can't be.

    Raises:
        BadInput: none can be decoded.
    """
    if len(listing.keys) * size**2 * 3 > memory_gb * 1e9:
        return Pictures(listing, size, None), []
    folder = Folder(listing.url)
    with ThreadPoolExecutor(DECODERS) as pool:
        found = list(pool.map(lambda key: _decoded(folder, key, size), listing.keys))
    broken = [f"{key}: {why}" for key, why in zip(listing.keys, found, strict=True) if isinstance(why, BadImage)]
    if len(broken) == len(found):
        raise BadInput(f"{listing.url}: none of its {len(found)} pictures can be used; the first, {broken[0]}")
    decoded = [None if isinstance(picture, BadImage) else picture for picture in found]
    return Pictures(listing, size, decoded), broken


class PictureLoader:
    """Gives the crops of rows; those that were announced are being decoded meanwhile."""

    def __init__(self, pictures: Pictures, *, flip: bool) -> None:
        self.num_broken = 0
        """Pictures that could not be decoded, each time that one was wanted: the next one took its place."""
        self._pictures = pictures
        self._flip = flip
        self._folder = Folder(pictures.listing.url)
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures")
        self._announced: dict[int, Future[Picture | BadImage]] = {}

    @property
    def num_rows(self) -> int:
        return len(self._pictures.listing.keys)

    def announce(self, indices: Sequence[int]) -> None:
        """Begin to decode what will be wanted next."""
        if self._pictures.decoded is None:
            for index in indices:
                if index not in self._announced:
                    self._announced[index] = self._pool.submit(self._decode, index)

    def crops(self, rows: Rows) -> UInt8[np.ndarray, "rows size size 3"]:
        """The part of each picture, and whether it is mirrored, that chance decides for this row and epoch."""
        self.announce(rows.indices.tolist())
        return np.stack([self._crop(int(index), int(chance)) for index, _, chance in zip(*rows, strict=True)])

    def centres(self, rows: Rows) -> UInt8[np.ndarray, "rows size size 3"]:
        """The middle of each picture."""
        size = self._pictures.size
        pictures = [self._picture(int(index)) for index in rows.indices]
        return np.stack([_part(each, size, *((side - size) // 2 for side in each.shape[:2])) for each in pictures])

    def _crop(self, index: int, chance: int) -> UInt8[np.ndarray, "size size 3"]:
        picture, size = self._picture(index), self._pictures.size
        height, width, _ = picture.shape
        # One bit for the mirror, then 31 for each offset.
        crop = _part(picture, size, (chance >> 1) % 2**31 % (height - size + 1), (chance >> 33) % (width - size + 1))
        return crop[:, ::-1] if self._flip and chance % 2 else crop

    def _picture(self, index: int) -> Picture:
        for _ in range(self.num_rows):
            picture = self._stored(index) if self._pictures.decoded is None else self._pictures.decoded[index]
            if picture is not None:
                return picture
            self.num_broken += 1
            index = (index + 1) % self.num_rows
        raise BadInput(f"{self._folder}: none of its {self.num_rows} pictures can be used")

    def _stored(self, index: int) -> Picture | None:
        announced = self._announced.pop(index, None)
        picture = announced.result() if announced is not None else self._decode(index)
        return None if isinstance(picture, BadImage) else picture

    def _decode(self, index: int) -> Picture | BadImage:
        return _decoded(self._folder, self._pictures.listing.keys[index], self._pictures.size)


def _decoded(folder: Folder, key: str, size: int) -> Picture | BadImage:
    data = read_file(folder, key)
    try:
        return data if isinstance(data, BadImage) else resize_image(data, size)
    except BadImage as error:
        return error


def _part(picture: Picture, size: int, top: int, left: int) -> UInt8[np.ndarray, "size size 3"]:
    return picture[top : top + size, left : left + size]
