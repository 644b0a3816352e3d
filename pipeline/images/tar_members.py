"""What a tar file holds: members named as images, with their places in the file, and labels beside them.

A tar has no list of its members, so that finding them means reading through it; it is read to its end, and nothing is
unpacked.
"""

import tarfile
from typing import BinaryIO, NamedTuple, cast

from bar_model.errors import BadInput, one_line
from pipeline.images.image_names import why_no_image
from pipeline.images.left_out import LeftOut
from pipeline.storage import Folder

READ_AHEAD_BYTES = 8 << 20
HEADER_BYTES = 1 << 20
"""The most that is read at once of a header, of which a long name or an extended header may be longer than a block."""
LABEL_BYTES = 256
LABEL_ENDING = "cls"
NO_TARGET = "is a link to what is not in the file"
SYMBOLIC = "is a symbolic link"
SPARSE = "is stored with holes"
NO_FILE = "is no regular file"
"""Problems of images. Plans hold these texts and are compared with them: they stay as they are."""
TAR_OF_TARS = "ending in .tar"
_SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"PAR1": "Parquet",
}


class TarMember(NamedTuple):
    """A member named as an image: its place in the file, or why it can't be used."""

    name: str
    at: int
    size: int
    problem: str = ""


class TarContents(NamedTuple):
    """The images of a tar, the texts of its labels by stem (`a/000` of `a/000.cls`), and what it holds besides.

    A stem with several `.cls` members that differ has all of their texts.
    """

    images: list[TarMember]
    labels: dict[str, tuple[str, ...]]
    left_out: LeftOut


def read_members(folder: Folder, name: str) -> TarContents:
    """The contents of one tar file of a folder.

    Raises:
        BadInput: it is no tar, is damaged, or does not end where its members end.
    """
    where = folder.path(name)
    try:
        with folder.open(name, read_ahead=READ_AHEAD_BYTES) as file:
            _check_signature(file, where)
            headers = cast(BinaryIO, _Headers(file))
            with tarfile.open(fileobj=headers, mode="r:", errors="backslashreplace") as tar:
                contents = _Reader(name, tar).contents()
                _check_end(file, tar.offset, where)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{where} is no tar file, or damaged ({one_line(error)}): restore it") from error
    if not contents.images and contents.left_out[TAR_OF_TARS]:
        raise BadInput(
            f"{where} holds tars, not images: {contents.left_out}; unpack each of them into a folder named by its "
            "class, and name the folder that holds these"
        )
    return contents


def lookup_name(name: str) -> str:
    """A member's name as links and labels refer to it: `./a//b` is `a/b`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


class _Reader:
    def __init__(self, file: str, tar: tarfile.TarFile) -> None:
        self._file, self._tar = file, tar
        self._stored: dict[str, tarfile.TarInfo] = {}
        self._contents = TarContents([], {}, LeftOut())

    def contents(self) -> TarContents:
        for member in self._tar:
            if member.size < 0 or self._tar.offset <= member.offset:
                raise tarfile.ReadError(f"a member of {member.size} bytes")
            # A global header may give a size by which Python's reader does not go on.
            room = self._tar.offset - member.offset_data
            if member.isreg() and member.sparse is None and not 0 <= room - member.size < tarfile.BLOCKSIZE:
                raise tarfile.ReadError(f"a member of {member.size} bytes, which has {room}")
            if not member.isdir():
                self._see(member)
        return self._contents

    def _see(self, member: tarfile.TarInfo) -> None:
        stored = self._resolved(member)
        if stored is not None:
            self._stored[lookup_name(member.name)] = stored
        stem, _, ending = member.name.rpartition(".")
        reason = why_no_image(member.name)
        if reason is None:
            self._contents.images.append(_image(member, stored))
        elif reason == f"ending in .{LABEL_ENDING}" and ending and stored is not None:
            self._add_label(lookup_name(stem), stored)
        else:
            self._contents.left_out.add(reason, f"{self._file}/{member.name}")

    def _resolved(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """The member whose bytes another one has: itself, or what a hard link names, which comes before it."""
        if member.isreg():
            return member
        return self._stored.get(lookup_name(member.linkname)) if member.islnk() else None

    def _add_label(self, stem: str, stored: tarfile.TarInfo) -> None:
        if stored.size > LABEL_BYTES:
            text = f"a text of {stored.size:,} bytes"
        else:
            file = self._tar.extractfile(stored)
            data = file.read() if file is not None else b""
            text = data.decode("utf-8-sig", errors="backslashreplace").strip()
        texts = self._contents.labels.setdefault(stem, ())
        if text not in texts:
            self._contents.labels[stem] = (*texts, text)


def _image(member: tarfile.TarInfo, stored: tarfile.TarInfo | None) -> TarMember:
    if stored is None:
        problem = NO_TARGET if member.islnk() else SYMBOLIC if member.issym() else NO_FILE
        return TarMember(member.name, member.offset, 0, problem)
    if stored.sparse is not None:
        return TarMember(member.name, member.offset, 0, SPARSE)
    return TarMember(member.name, stored.offset_data, stored.size)


class _Headers:
    """A file of which no header may claim more than `HEADER_BYTES`, so that a damaged one takes no memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _check_signature(file: BinaryIO, where: str) -> None:
    beginning = file.read(8)
    for signature, kind in _SIGNATURES.items():
        if beginning.startswith(signature):
            raise BadInput(
                f"{where} is a {kind} file, which is not read as a tar: unpack it (members are read by their places, "
                "so that a tar must not be compressed)"
            )
    file.seek(0)


def _check_end(file: BinaryIO, offset: int, where: str) -> None:
    """Checks that a tar ends where its reader has stopped; Python's takes a damaged or cut header for the end.

    Raises:
        BadInput: the end mark, a block of zeros, is missing, or something follows it.
    """
    file.seek(offset)
    length = 0
    while chunk := file.read(READ_AHEAD_BYTES):
        length += len(chunk)
        if chunk.count(0) < len(chunk):
            raise BadInput(
                f"{where} holds more after byte {offset:,}, where its members end: it is damaged, cut off, or made of "
                "several tars; restore it, or keep them apart"
            )
    if length < tarfile.BLOCKSIZE:
        raise BadInput(f"{where} has no end mark: it was cut off; restore it")
