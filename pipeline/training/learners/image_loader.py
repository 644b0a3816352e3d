"""Images for the tokenizer's training: a random crop of each, mirrored at random, from memory or from files."""

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
from pipeline.images.survey import SurveyedSource
from pipeline.storage import Folder
from pipeline.training.step.batches import Rows

Pixels = UInt8[np.ndarray, "height width 3"]

DECODERS = 16


class ImageListing(NamedTuple):
    """The images of a folder by name, and a digest by which a changed folder is recognised."""

    url: str
    keys: list[str]
    inputs: Inputs


class TrainingImages(NamedTuple):
    """Images whose shorter side is `size`: decoded in memory (None for a broken one), or to be read when needed."""

    listing: ImageListing
    size: int
    decoded: list[Pixels | None] | None

    def opened(self) -> "TrainingImages":
        """As `MappedCodes.opened`: these are there already."""
        return self


def list_images(url: str) -> ImageListing:
    """The images of a folder of class folders.

    Raises:
        BadInput: there are none.
    """
    source = ImageFolder.open(url)
    print(source.summary, flush=True)
    listed = [(each.key, each.label, each.size, each.version) for each in SurveyedSource(source, url).listing()]
    if not listed:
        raise BadInput(f"{url} holds no images: check the path, and the names of the files (.jpg, .png, …)")
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
    return ImageListing(Folder(url).url, [key for key, *_ in listed], Inputs(len(listed), digest))


def open_images(listing: ImageListing, size: int, *, memory_gb: float) -> tuple[TrainingImages, list[str]]:
    """Decodes the images if square ones would fit into `memory_gb`; also returns a line for each broken image.

    Raises:
        BadInput: none of them can be decoded.
    """
    if len(listing.keys) * size**2 * 3 > memory_gb * 1e9:
        return TrainingImages(listing, size, None), []
    folder = Folder(listing.url)
    with ThreadPoolExecutor(DECODERS) as pool:
        found = list(pool.map(lambda key: _decoded(folder, key, size), listing.keys))
    broken = [f"{key}: {why}" for key, why in zip(listing.keys, found, strict=True) if isinstance(why, BadImage)]
    if len(broken) == len(found):
        raise BadInput(f"{listing.url}: none of its {len(found)} images can be used; the first, {broken[0]}")
    decoded = [None if isinstance(image, BadImage) else image for image in found]
    return TrainingImages(listing, size, decoded), broken


class ImageLoader:
    """Reads the crops of rows. Rows that were announced before are decoded in the background."""

    def __init__(self, images: TrainingImages, *, flip: bool) -> None:
        self.num_broken = 0
        """How often an image could not be decoded when it was needed; the next image took its place."""
        self._images = images
        self._flip = flip
        self._folder = Folder(images.listing.url)
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="images")
        self._announced: dict[int, Future[Pixels | BadImage]] = {}

    @property
    def num_rows(self) -> int:
        """The number of images."""
        return len(self._images.listing.keys)

    def announce(self, indices: Sequence[int]) -> None:
        """Begins to decode images that will be needed next."""
        if self._images.decoded is None:
            for index in indices:
                if index not in self._announced:
                    self._announced[index] = self._pool.submit(self._decode, index)

    def crops(self, rows: Rows) -> UInt8[np.ndarray, "rows size size 3"]:
        """A random crop of each image, mirrored at random, as the random bits of its row decide."""
        self.announce(rows.indices.tolist())
        return np.stack([self._crop(int(index), int(chance)) for index, _, chance in zip(*rows, strict=True)])

    def centres(self, rows: Rows) -> UInt8[np.ndarray, "rows size size 3"]:
        """The centre crop of each image."""
        size = self._images.size
        images = [self._image(int(index)) for index in rows.indices]
        return np.stack([_part(each, size, *((side - size) // 2 for side in each.shape[:2])) for each in images])

    def _crop(self, index: int, chance: int) -> UInt8[np.ndarray, "size size 3"]:
        image, size = self._image(index), self._images.size
        height, width, _ = image.shape
        # One bit for the mirror, then 31 for each offset.
        crop = _part(image, size, (chance >> 1) % 2**31 % (height - size + 1), (chance >> 33) % (width - size + 1))
        return crop[:, ::-1] if self._flip and chance % 2 else crop

    def _image(self, index: int) -> Pixels:
        for _ in range(self.num_rows):
            image = self._stored(index) if self._images.decoded is None else self._images.decoded[index]
            if image is not None:
                return image
            self.num_broken += 1
            index = (index + 1) % self.num_rows
        raise BadInput(f"{self._folder}: none of its {self.num_rows} images can be used")

    def _stored(self, index: int) -> Pixels | None:
        announced = self._announced.pop(index, None)
        image = announced.result() if announced is not None else self._decode(index)
        return None if isinstance(image, BadImage) else image

    def _decode(self, index: int) -> Pixels | BadImage:
        return _decoded(self._folder, self._images.listing.keys[index], self._images.size)


def _decoded(folder: Folder, key: str, size: int) -> Pixels | BadImage:
    data = read_file(folder, key)
    try:
        return data if isinstance(data, BadImage) else resize_image(data, size)
    except BadImage as error:
        return error


def _part(image: Pixels, size: int, top: int, left: int) -> UInt8[np.ndarray, "size size 3"]:
    return image[top : top + size, left : left + size]
