"""ImageNet's layout: a folder of class folders of images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from bar_model.errors import BadInput
from pipeline.filesystem import list_folder
from pipeline.images.class_map import LabelMap, normal_name
from pipeline.images.codec import BadImage, UnreachableImage, check_file_size
from pipeline.images.image_names import IN_JUNK, JUNK, why_no_image
from pipeline.images.left_out import LeftOut, printable
from pipeline.images.source import ListedImage, StoredImage, count_doubled, read_ahead
from pipeline.storage import Folder

NAMED = 5


@dataclass(frozen=True)
class ImageFolder:
    """ImageNet's layout, `class/image` at any depth below the class, in the order of names; on a disk or S3.

    Files whose names do not end as images' do are left out, as are hidden ones and those outside of a class folder;
    the listing counts them.
    """

    url: str
    classes: Mapping[str, int]
    is_counted: bool = field(default=False, kw_only=True)
    """Whether labels are places in the order of names, so that `keeping` may choose others for new names."""
    num_classes: int | None = field(default=None, kw_only=True)

    @staticmethod
    def open(url: str, classes: Mapping[str, int] | None = None, num_classes: int | None = None) -> "ImageFolder":
        """The source of a folder. Without `classes`, labels count the class folders in the order of their names.

        Class folders that are all named by whole numbers have these as labels, as the same folders in a tar have.

        Raises:
            BadInput: the folder is missing, holds no class folders or too many, or holds one that `classes` lacks.
        """
        folder = Folder(url)
        if not folder.exists():
            raise BadInput(f"{folder.url} is not there: check the path, or the bucket and its credentials")
        names = [name for name in folder.folders() if name not in JUNK]
        if not names:
            raise BadInput(f"{folder.url} holds {_instead_of_classes(folder)}")
        is_counted = classes is None
        if classes is None:
            classes = _whole_numbers(names) or {name: label for label, name in enumerate(names)}
        by_name = LabelMap(classes=classes).by_name
        for name in names:
            if normal_name(name) not in by_name:
                raise BadInput(
                    f"{folder.path(name)}: the class map has no label for {name!r}: add it, or move the folder"
                )
        labels = LabelMap(num_classes=num_classes)
        numbers = {name: labels.of(by_name[normal_name(name)], folder.path(name)) for name in names}
        return ImageFolder(folder.url, numbers, is_counted=is_counted, num_classes=num_classes)

    def keeping(self, known: Mapping[str, int]) -> "ImageFolder":
        """This folder with the class numbers that are `known`; its other classes follow them, in the order of names.

        Labels that a class map has given stay as they are.

        Raises:
            BadInput: a number is out of range.
        """
        if not self.is_counted:
            return self
        labels = LabelMap(num_classes=self.num_classes)
        numbers = {normal_name(name): number for name, number in known.items()}
        if _whole_numbers([*known, *self.classes]) is not None and _whole_numbers(list(known)) == dict(known):
            return self
        following = count(max(numbers.values(), default=-1) + 1)
        given = {name: numbers.get(normal_name(name)) for name in sorted(self.classes)}
        kept = {name: next(following) if number is None else number for name, number in given.items()}
        where = Folder(self.url)
        return replace(self, classes={name: labels.of(number, where.path(name)) for name, number in kept.items()})

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the URL and the labels of the classes, as JSON values."""
        return {"kind": "image folder", "url": self.url, "classes": dict(self.classes)}

    @property
    def summary(self) -> str:
        """The number of classes and the first ones, with a warning where their labels may not be the expected ones."""
        first = ", ".join(f"{printable(name)} → {label}" for name, label in list(self.classes.items())[:NAMED])
        more = ", …" if len(self.classes) > NAMED else ""
        text = f"{printable(self.url)}: {len(self.classes):,} classes: {first}{more}"
        if self._holds_folders_alone():
            text += "; the first ones hold folders, not images: if these are the classes, name what is around them"
        if _whole_numbers(list(self.classes)) not in (None, dict(self.classes)):
            text += "; the names are numbers, but not the labels: --classes gives them other ones"
        return text

    def _holds_folders_alone(self) -> bool:
        """Whether none of the first classes holds a file, as in `train/` and `val/` around the class folders."""
        is_local, found = Folder(self.url).is_local, set()
        for name in list(self.classes)[:NAMED]:
            found |= {info["type"] for _, info in list_folder(f"{self.url}/{name}", is_local=is_local)}
        return found == {"directory"}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, class by class, without reading them; `left_out` counts what is stored there but is no image."""
        return count_doubled(self._found(LeftOut() if left_out is None else left_out))

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The files of these images, several read at once."""
        return read_ahead(self._stored, listed)

    def _found(self, left_out: LeftOut) -> Iterator[ListedImage]:
        folder = Folder(self.url)
        for name, info in list_folder(folder.url, is_local=folder.is_local, leave_out=left_out.add):
            if info["type"] == "file":
                left_out.add("outside of the class folders", name)
            elif info["type"] != "directory":
                left_out.add(info["type"], name)
            elif name in JUNK:
                left_out.add(IN_JUNK, f"{name}/")
        for name, label in sorted(self.classes.items()):
            yield from self._found_in(folder, name, label, left_out)

    def _found_in(self, folder: Folder, name: str, label: int, left_out: LeftOut) -> Iterator[ListedImage]:
        def leave_out(reason: str, below: str) -> None:
            left_out.add(reason, f"{name}/{below}")

        for entry in (folder / name).walk(leave_out):
            reason = why_no_image(entry.name)
            if reason is None:
                yield _listed_image(f"{name}/{entry.name}", label, entry.size, entry.version)
            else:
                leave_out(reason, entry.name)

    def _stored(self, image: ListedImage) -> StoredImage:
        folder = Folder(self.url)
        data = check_file_size(image.size) or read_file(folder, image.key)
        return StoredImage(image.key, image.label, folder.path(image.key), data)


def _whole_numbers(names: Sequence[str]) -> dict[str, int] | None:
    """The numbers that all of these names are, each another one; None where they are names of another kind."""
    if not all(name.isascii() and name.isdecimal() for name in names):
        return None
    numbers = {name: int(name) for name in names}
    return numbers if len(set(numbers.values())) == len(numbers) else None


def _instead_of_classes(folder: Folder) -> str:
    """What a folder without class folders holds, and what to do about it."""
    images = [name for name, info in list_folder(folder.url, is_local=folder.is_local) if info["type"] == "file"]
    images = [name for name in images if why_no_image(name) is None]
    if images:
        return (
            f"{len(images):,} images ({printable(images[0])}, …), but no class folders: move each into the folder of "
            "its class, or write a list.csv with the columns url (the name of the file) and label beside them, and "
            f"name {folder.url}/list.csv"
        )
    return (
        "no class folders: images are expected as CLASS/NAME.jpg in it; other sources are named by a pattern, "
        "FOLDER/*.parquet, *.tar or *.csv"
    )


def read_file(folder: Folder, name: str) -> bytes | BadImage:
    """The content of an image's file, or why it can't be read."""
    try:
        return folder.read(name)
    except (FileNotFoundError, PermissionError) as error:
        # Any other error is the storage's, not the image's. It ends the run, and the next run may succeed.
        return unreadable(error)


def unreadable(error: FileNotFoundError | PermissionError) -> BadImage:
    """The bad image of a file that is gone, or that this user may not read now."""
    if isinstance(error, FileNotFoundError):
        return BadImage("can't be read (FileNotFoundError)")
    return UnreachableImage("can't be read (PermissionError)")


def _listed_image(key: str, label: int, size: int, version: str) -> ListedImage:
    readable = key.encode(errors="backslashreplace").decode()
    return ListedImage(readable, label, size, version, problem="" if readable == key else "has a name that is no UTF-8")
