"""How a shard keeps its images: as PNG, WebP or raw pixels, in its rows or in files beside it, or not at all."""

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from PIL import Image

from bar_model.errors import BadInput, interpreting, one_line
from pipeline.execution.unit import Row
from pipeline.images.codec import to_png, to_webp
from pipeline.storage import Folder

Encoding = Literal["png", "webp", "raw", "none"]
KeptImages = UInt8[np.ndarray, "images height width 3"]

ENCODERS: dict[Encoding, Callable[[np.ndarray], bytes]] = {"png": to_png, "webp": to_webp}
FILES_PER_FOLDER = 1000
FILE_READS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The way in which images are kept. Each way gives back the same pixels, except "none", which keeps codes alone."""

    encoding: Encoding = "png"
    files: bool = False

    def __post_init__(self) -> None:
        if self.files and self.encoding not in ENCODERS:
            raise BadInput(f"files: images are kept as {self.encoding}, of which no files are made; choose png or webp")

    @property
    def has_pixels(self) -> bool:
        """Whether pixels are kept, and not codes alone."""
        return self.encoding != "none"

    def fields(self, image_size: int) -> list[pa.Field]:
        """The columns of images in a shard. For files they hold the SHA-256 of the pixels, not of the files."""
        if self.files:
            columns = {"file": pa.string(), "pixels_sha256": pa.binary(32)}
        elif self.encoding == "raw":
            columns = {"image": pa.binary(3 * image_size**2)}
        else:
            columns = {"image": pa.binary()} if self.has_pixels else {}
        return [pa.field(name, kind, nullable=False) for name, kind in columns.items()]

    def columns(self, row: Row) -> list[pa.Array]:
        """The values of `fields`, made of `indices` (N,) and `images` (N, H, W, 3). Without pixels there are none."""
        if not self.has_pixels:
            return []
        images: KeptImages = row["images"]
        if self.files:
            digests = [_digest(image) for image in images]
            return [pa.array(map(self._file_name, row["indices"]), pa.string()), pa.array(digests, pa.binary(32))]
        if self.encoding == "raw":
            pixels = pa.py_buffer(np.ascontiguousarray(images))
            return [pa.FixedSizeBinaryArray.from_buffers(pa.binary(images[0].size), len(images), [None, pixels])]
        return [pa.array(map(ENCODERS[self.encoding], images), pa.binary())]

    def beside(self, row: Row) -> Iterator[tuple[str, bytes]]:
        """The names and contents of the files beside a shard."""
        if self.files:
            for index, image in zip(row["indices"], row["images"], strict=True):
                yield self._file_name(index), ENCODERS[self.encoding](image)

    def images(self, table: pa.Table, image_size: int, folder: Folder) -> KeptImages:
        """The images of a shard's rows. Those that are files are read from the folder.

        Raises:
            BadInput: a file is missing, damaged or another one.
        """
        shape = (image_size, image_size, 3)
        if self.files:
            rows = zip(table.column("file").to_pylist(), table.column("pixels_sha256").to_pylist(), strict=True)
            with ThreadPoolExecutor(FILE_READS_AT_ONCE) as pool:
                return np.stack(list(pool.map(lambda row: _read_file(folder, row[0], row[1], image_size), rows)))
        if self.encoding == "raw":
            return fixed_bytes(table.column("image")).reshape(-1, *shape)
        images = np.empty((len(table), *shape), np.uint8)
        for place, image in enumerate(self._decoded_images(table, image_size)):
            images[place] = image
        return images

    def check(self, table: pa.Table, image_size: int) -> None:
        """Decodes all images that are in a shard encoded, one at a time.

        Raises:
            BadInput: one can't be decoded, or has another size.
        """
        if self.has_pixels and not self.files and self.encoding != "raw":
            for _ in self._decoded_images(table, image_size):
                pass

    def _decoded_images(self, table: pa.Table, image_size: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        for index, data in zip(table.column("index"), table.column("image"), strict=True):
            try:
                image = _decoded(data.as_buffer(), image_size)
            except Exception as error:  # Pillow's decoders raise nearly anything where the data is malformed.
                raise BadInput(f"image {index} can't be decoded ({one_line(error)})") from error
            yield image

    def _file_name(self, index: int) -> str:
        return f"images/{index // FILES_PER_FOLDER:06d}/{index:09d}.{self.encoding}"


def fixed_bytes(column: pa.ChunkedArray) -> UInt8[np.ndarray, "rows bytes"]:
    """A column of fixed-size binary values as an array, without a copy if the column is of one piece."""
    array = column.combine_chunks()
    width = array.type.byte_width
    start = array.offset * width
    return np.frombuffer(array.buffers()[1], np.uint8)[start : start + len(array) * width].reshape(-1, width)


def _read_file(folder: Folder, name: str, sha256: bytes, size: int) -> UInt8[np.ndarray, "height width 3"]:
    where, remedy = folder.path(name), "remove its shard and draw the samples again, which makes what is missing"
    try:
        data = folder.read(name)
    except FileNotFoundError as error:
        raise BadInput(f"{where} is missing: {remedy}") from error
    except ValueError as error:  # A zero byte in the name, which no file can have.
        raise BadInput(f"{where} can't be read ({one_line(error)}): {remedy}") from error
    with interpreting(f"{where} is damaged", remedy):
        image = _decoded(data, size)
    if _digest(image) != sha256:
        raise BadInput(f"{where} is not the picture that was drawn (its pixels differ): {remedy}")
    return image


def _digest(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def _decoded(data: bytes | pa.Buffer, size: int) -> UInt8[np.ndarray, "height width 3"]:
    with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as image:
        if image.mode != "RGB" or image.size != (size, size):  # Before a large one takes memory.
            raise ValueError(f"{image.mode} of {image.width} × {image.height} px instead of RGB of {size} × {size} px")
        return np.asarray(image)
