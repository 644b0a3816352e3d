"""Images in tar files, as WebDataset keeps them: NAME.jpg beside NAME.cls, or in a folder named by the class."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bar_model.errors import BadInput
from pipeline.filesystem import Entry
from pipeline.images.class_folders import unreadable
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import check_file_size
from pipeline.images.left_out import LeftOut, printable
from pipeline.images.source import ListedImage, StoredImage, count_doubled, read_ahead
from pipeline.images.tar_members import LABEL_ENDING, TarContents, read_members
from pipeline.images.webdataset import FieldChoice, LabelledMember, label_members
from pipeline.storage import Folder

LISTED_AT_ONCE = 8
MEMBER_ESCAPES = "its name climbs out of the file"
"""A problem of an image. Plans hold this text and are compared with it: it stays as it is."""
NO_IMAGES = "file without images"
NO_LABEL = -1
"""Stands in the listing for the label of what can't be used and has none."""


@dataclass(frozen=True)
class TarImages:
    """Files of a folder by a pattern, in the order of their names. An image's key is FILE/MEMBER.

    Nothing is unpacked: a member is read by its place in the file, so its name can't lead anywhere.
    """

    url: str
    pattern: str
    labels: LabelMap
    image_field: str | None = None

    @staticmethod
    def open(
        folder: Folder, pattern: str, labels: LabelMap, label_column: str, image_column: str | None
    ) -> "TarImages":
        """The source of a folder's files; tars have no column of labels, and `image_column` names a field."""
        return TarImages(folder.url, pattern, labels, image_column)

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the files, the field if one was chosen, and the class map, as JSON values."""
        chosen = {} if self.image_field is None else {"image_column": self.image_field}
        return {"kind": "tar", "url": f"{self.url}/{self.pattern}", **chosen, **self.labels.identity}

    @property
    def summary(self) -> str:
        """The number of files and which member of a sample is its image."""
        num = len(Folder(self.url).list(self.pattern))
        chosen = f", of each sample the field {self.image_field!r}" if self.image_field else ""
        return f"{printable(self.url)}/{self.pattern}: {num:,} tars, labels in .cls or names of folders{chosen}"

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, file by file; holds the members of a few files in memory. `left_out` counts the others.

        Raises:
            BadInput: an image has no label, or a file is damaged.
        """
        left_out = LeftOut() if left_out is None else left_out
        folder, choice = Folder(self.url), FieldChoice(self.image_field)
        ahead: deque[tuple[Entry, Future[TarContents]]] = deque()
        with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
            for entry in folder.list(self.pattern, left_out.add):
                ahead.append((entry, pool.submit(read_members, folder, entry.name)))
                if len(ahead) == LISTED_AT_ONCE:
                    yield from self._listed(folder, *ahead.popleft(), choice, left_out)
            while ahead:
                yield from self._listed(folder, *ahead.popleft(), choice, left_out)

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images, several read at once, each by its place in its file."""
        return read_ahead(self._stored, listed)

    def _listed(
        self, folder: Folder, entry: Entry, members: Future[TarContents], choice: FieldChoice, left_out: LeftOut
    ) -> Iterator[ListedImage]:
        contents, where = members.result(), folder.path(entry.name)
        left_out.update(contents.left_out)
        labelled = choice.chosen(label_members(contents, entry.name, left_out), where, entry.name, left_out)
        if not labelled:
            left_out.add(NO_IMAGES, entry.name)
        found = []
        for each in labelled:
            member = each.member
            problem = MEMBER_ESCAPES if _escapes(member.name) else member.problem
            label = self._label(each, problem, f"{where}, member {printable(member.name)}")
            key = f"{entry.name}/{member.name}"
            found.append(ListedImage(key, label, member.size, entry.version, member.at, problem))
        yield from count_doubled(sorted(found, key=lambda image: (image.key.split("/"), image.at)))

    def _label(self, each: LabelledMember, problem: str, where: str) -> int:
        if each.label is None and problem:
            return NO_LABEL
        missing = f"{printable(each.member.name.rpartition('.')[0])}.{LABEL_ENDING}"
        if each.label is None:
            raise BadInput(
                f"{where} has no label: there is no {missing}, and it lies in no class folder; add one of the two "
                "(captions such as .txt and .json are not read)"
            )
        try:
            return self.labels.of(each.label, where)
        except BadInput as error:
            if each.sample:
                raise
            raise BadInput(f"{error} (the label is its folder's name, because there is no {missing})") from error

    def _stored(self, image: ListedImage) -> StoredImage:
        folder = Folder(self.url)
        file, _, member = image.key.partition("/")
        where = f"{folder.path(file)}, member {member}"
        if (too_long := check_file_size(image.size)) is not None:
            return StoredImage(image.key, image.label, where, too_long)
        try:
            data = folder.read_part(file, image.at, image.at + image.size)
        except (FileNotFoundError, PermissionError) as error:
            return StoredImage(image.key, image.label, where, unreadable(error))
        return StoredImage(image.key, image.label, where, data)


def _escapes(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")
