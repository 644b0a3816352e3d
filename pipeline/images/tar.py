"""Images in tar files, as WebDataset keeps them: NAME.jpg beside NAME.cls, or in a folder named by the class."""

import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from bar_model.errors import BadInput
from pipeline.filesystem import Entry
from pipeline.images.class_folders import READS_AT_ONCE, is_image_name
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import BadImage
from pipeline.images.source import ListedImage, StoredImage, count_doubled
from pipeline.storage import Folder

LISTED_AT_ONCE = 8
TAR_READ_AHEAD_BYTES = 8 << 20
"""Fetched at a time: a tar has no list of its members, so that finding them means streaming through it."""
LABEL_BYTES = 256
MEMBER_ESCAPES = "its name climbs out of the file"
"""A problem of an image. Plans hold this text and are compared with it: it stays as it is."""


class _Member(NamedTuple):
    name: str
    at: int
    size: int
    label: object


@dataclass(frozen=True)
class TarImages:
    """Files of a folder by a pattern, in the order of their names. An image's key is FILE/MEMBER.

    Nothing is unpacked: a member is read by its place in the file, so its name can't lead anywhere.
    """

    url: str
    pattern: str
    labels: LabelMap

    @staticmethod
    def open(folder: Folder, pattern: str, labels: LabelMap, label_column: str) -> "TarImages":
        """The source of a folder's files; tars have no column of labels."""
        return TarImages(folder.url, pattern, labels)

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the files and the class map, as JSON values."""
        return {"kind": "tar", "url": f"{self.url}/{self.pattern}", **self.labels.identity}

    def listing(self) -> Iterator[ListedImage]:
        """All images, file by file; holds the members of a few files in memory.

        Raises:
            BadInput: an image has no label, or a file is damaged.
        """
        folder = Folder(self.url)
        ahead: deque[tuple[Entry, Future[list[_Member]]]] = deque()
        with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
            for entry in folder.list(self.pattern):
                ahead.append((entry, pool.submit(_members, folder, entry.name)))
                if len(ahead) == LISTED_AT_ONCE:
                    yield from self._listed(folder, *ahead.popleft())
            while ahead:
                yield from self._listed(folder, *ahead.popleft())

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images, several read at once, each by its place in its file."""
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from pool.map(self._stored, listed)

    def _listed(self, folder: Folder, entry: Entry, members: Future[list[_Member]]) -> Iterator[ListedImage]:
        found = []
        for member in members.result():
            problem = MEMBER_ESCAPES if _escapes(member.name) else ""
            where = f"{folder.path(entry.name)}, member {member.name}"
            label = self.labels.of(member.label, where)
            found.append(
                ListedImage(f"{entry.name}/{member.name}", label, member.size, entry.version, member.at, problem)
            )
        yield from count_doubled(sorted(found, key=lambda image: (image.key.split("/"), image.at)))

    def _stored(self, image: ListedImage) -> StoredImage:
        folder = Folder(self.url)
        file, _, member = image.key.partition("/")
        where = f"{folder.path(file)}, member {member}"
        try:
            data = folder.read_part(file, image.at, image.at + image.size)
        except (FileNotFoundError, PermissionError) as error:
            return StoredImage(image.key, image.label, where, BadImage(f"can't be read ({type(error).__name__})"))
        return StoredImage(image.key, image.label, where, data)


def _members(folder: Folder, name: str) -> list[_Member]:
    """The images of a tar file with their labels as given: the number or name in NAME.cls, else their folder's."""
    images: list[tarfile.TarInfo] = []
    labels: dict[str, str] = {}
    try:
        with (
            folder.open(name, read_ahead=TAR_READ_AHEAD_BYTES) as file,
            tarfile.open(fileobj=file, mode="r:", errors="backslashreplace") as tar,
        ):
            for member in tar:
                stem, _, ending = member.name.rpartition(".")
                if member.isreg() and ending == "cls" and not _is_hidden(member.name) and member.size <= LABEL_BYTES:
                    labels[stem] = _text(tar, member)
                elif member.isreg() and is_image_name(member.name) and not member.sparse:
                    images.append(member)
            _check_end(file, tar.offset, folder.path(name))
    except tarfile.TarError as error:
        raise BadInput(f"{folder.path(name)} is no tar file, or damaged ({error}): restore it") from error
    return [
        _Member(member.name, member.offset_data, member.size, labels.get(_stem(member.name), _class(member.name)))
        for member in images
    ]


def _check_end(file: BinaryIO, offset: int, where: str) -> None:
    """Checks that a tar ends where its reader has stopped; Python's takes a damaged or cut header for the end.

    Raises:
        BadInput: the end mark, a block of zeros, is missing, or something follows it.
    """
    file.seek(offset)
    length = 0
    while chunk := file.read(TAR_READ_AHEAD_BYTES):
        length += len(chunk)
        if chunk.count(0) < len(chunk):
            raise BadInput(
                f"{where} holds more after byte {offset:,}, where its members end: it is damaged, cut off, or made of "
                "several tars; restore it, or keep them apart"
            )
    if length < tarfile.BLOCKSIZE:
        raise BadInput(f"{where} has no end mark: it was cut off; restore it")


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    return file.read().decode("utf-8-sig", errors="backslashreplace").strip() if file is not None else ""


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _class(name: str) -> str | None:
    parts = name.split("/")
    return parts[-2] if len(parts) > 1 else None


def _is_hidden(name: str) -> bool:
    """Whether a member is a companion such as `._000.cls`, in which macOS keeps attributes of the file beside it."""
    return name.rpartition("/")[2].startswith(".")


def _escapes(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")
