"""Where pictures come from: a source plans its units of work, and reads them."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

from bar_model.errors import BadInput
from pipeline.images import BadImage
from pipeline.storage import Folder
from pipeline.units import Unit

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
READS_AT_ONCE = 16


class Item(NamedTuple):
    """A picture as it is stored, or why it can't be had; `key` is unique and stable within its source."""

    key: str
    label: int
    where: str
    data: bytes | BadImage


class Source(Protocol):
    """Pictures with labels. The plan is a function of what is stored alone, and streamed."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this source from another (JSON values): part of the configuration that makes the codes."""
        ...

    def plan(self, unit_size: int) -> Iterator[Unit]:
        """Units of up to `unit_size` pictures; a picture that changes gives its unit another payload."""
        ...

    def read(self, unit: Unit) -> Iterator[Item]:
        """The pictures of a unit in their order, wherever it runs."""
        ...


@dataclass(frozen=True)
class ImageFolder:
    """ImageNet's layout, `class/picture` at any depth below the class, in the order of names; on a disk or S3.

    Files without the name of a picture are passed over, as are hidden ones and those outside of a class folder.
    """

    url: str
    classes: Mapping[str, int]

    @staticmethod
    def open(url: str, classes: Mapping[str, int] | None = None) -> "ImageFolder":
        """Labels are as given or, without `classes`, the places of the class folders in the order of their names.

        BadInput where the folder is missing, or holds no class folders or one that `classes` doesn't name.
        """
        folder = Folder(url)
        if not folder.exists():
            raise BadInput(f"{folder.url} is not there: check the path, or the bucket and its credentials")
        names = folder.folders()
        if not names:
            raise BadInput(f"{folder.url} holds no class folders: pictures are expected as CLASS/NAME.jpg in it")
        if classes is None:
            classes = {name: label for label, name in enumerate(names)}
        for name in names:
            if name not in classes:
                raise BadInput(
                    f"{folder.path(name)}: the class map has no label for {name!r}: add it, or move the folder"
                )
        return ImageFolder(folder.url, {name: classes[name] for name in names})

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "image folder", "url": self.url, "classes": dict(self.classes)}

    def plan(self, unit_size: int) -> Iterator[Unit]:
        """A payload lists [key, label, bytes, version], a picture each."""
        pictures = self._pictures()
        for index in count():
            payload = list(islice(pictures, unit_size))
            if not payload:
                return
            yield Unit(index=index, size=len(payload), payload=payload)

    def read(self, unit: Unit) -> Iterator[Item]:
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from pool.map(self._item, unit.payload)

    def _pictures(self) -> Iterator[list[Any]]:
        for name, label in sorted(self.classes.items()):
            for entry in (Folder(self.url) / name).walk():
                if "." in entry.name and f".{entry.name.rsplit('.', 1)[-1].lower()}" in EXTENSIONS:
                    yield [f"{name}/{entry.name}", label, entry.size, entry.version]

    def _item(self, picture: list[Any]) -> Item:
        key, label, _, _ = picture
        folder = Folder(self.url)
        readable = key.encode(errors="backslashreplace").decode()
        return Item(readable, label, folder.path(readable), _read(folder, key))


def _read(folder: Folder, key: str) -> bytes | BadImage:
    if any("\ud800" <= character <= "\udfff" for character in key):
        return BadImage("has a name that is no UTF-8: rename it")
    try:
        return folder.read(key)
    except (FileNotFoundError, PermissionError) as error:
        # Any other error is the storage's, not the picture's, and ends the run: the next one may have more luck.
        return BadImage(f"can't be read ({type(error).__name__})")


def read_classes(url: str) -> dict[str, int]:
    """Labels by class name from a JSON file, {"n01440764": 0, …}; BadInput where it isn't that."""
    directory, _, name = url.rpartition("/")
    folder = Folder(directory or ".")
    try:
        classes = json.loads(folder.read(name))
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(f"{url}: is no JSON file of labels by class name ({error})") from error
    if not isinstance(classes, dict) or not all(
        type(label) is int and 0 <= label < 2**31 for label in classes.values()
    ):
        raise BadInput(f'{url}: labels by class name are expected, {{"n01440764": 0, …}}, each 0 or more')
    return classes
