"""ImageNet's layout: a folder of class folders of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bar_model.errors import BadInput
from pipeline.images.codec import BadImage
from pipeline.images.source import LabelMap, ListedImage, StoredImage, count_doubled
from pipeline.storage import Folder

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
READS_AT_ONCE = 16


@dataclass(frozen=True)
class ImageFolder:
    """ImageNet's layout, `class/picture` at any depth below the class, in the order of names; on a disk or S3.

    Files without the name of a picture are passed over, as are hidden ones and those outside of a class folder.
    """

    url: str
    classes: Mapping[str, int]

    @staticmethod
    def open(url: str, classes: Mapping[str, int] | None = None, num_classes: int | None = None) -> "ImageFolder":
        """Labels are as given or, without `classes`, the places of the class folders in the order of their names.

        BadInput where the folder is missing, holds no class folders, one that `classes` doesn't name, or too many.
        """
        folder = Folder(url)
        if not folder.exists():
            raise BadInput(f"{folder.url} is not there: check the path, or the bucket and its credentials")
        names = folder.folders()
        if not names:
            raise BadInput(
                f"{folder.url} holds no class folders: pictures are expected as CLASS/NAME.jpg in it; other sources "
                "are named by a pattern, FOLDER/*.parquet, *.tar or *.csv"
            )
        if classes is None:
            classes = {name: label for label, name in enumerate(names)}
        for name in names:
            if name not in classes:
                raise BadInput(
                    f"{folder.path(name)}: the class map has no label for {name!r}: add it, or move the folder"
                )
        labels = LabelMap(num_classes=num_classes)
        return ImageFolder(folder.url, {name: labels.of(classes[name], folder.path(name)) for name in names})

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "image folder", "url": self.url, "classes": dict(self.classes)}

    def listing(self) -> Iterator[ListedImage]:
        return count_doubled(self._found())

    def read(self, pictures: Sequence[ListedImage]) -> Iterator[StoredImage]:
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from pool.map(self._item, pictures)

    def _found(self) -> Iterator[ListedImage]:
        for name, label in sorted(self.classes.items()):
            for entry in (Folder(self.url) / name).walk():
                if "." in entry.name and f".{entry.name.rsplit('.', 1)[-1].lower()}" in EXTENSIONS:
                    yield _picture(f"{name}/{entry.name}", label, entry.size, entry.version)

    def _item(self, picture: ListedImage) -> StoredImage:
        folder = Folder(self.url)
        return StoredImage(picture.key, picture.label, folder.path(picture.key), read_file(folder, picture.key))


def read_file(folder: Folder, name: str) -> bytes | BadImage:
    """A stored file, or why it can't be had."""
    try:
        return folder.read(name)
    except (FileNotFoundError, PermissionError) as error:
        # Any other error is the storage's, not the picture's, and ends the run: the next one may have more luck.
        return BadImage(f"can't be read ({type(error).__name__})")


def _picture(key: str, label: int, size: int, version: str) -> ListedImage:
    readable = key.encode(errors="backslashreplace").decode()
    return ListedImage(readable, label, size, version, problem="" if readable == key else "has a name that is no UTF-8")
