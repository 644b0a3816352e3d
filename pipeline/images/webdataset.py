"""WebDataset's naming: members of one sample share a name, and what follows it says which field a member is.

`000.jpg`, `000.seg.png` and `000.cls` are the fields `jpg`, `seg.png` and `cls` of the sample `000`. A name may also
hold dots of its own, as `a.b.jpg` beside `a.b.cls` shows.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bar_model.errors import BadInput
from pipeline.images.left_out import LeftOut, printable
from pipeline.images.tar_members import LABEL_ENDING, TarContents, TarMember, lookup_name

SEVERAL_LABELS = "has several labels"
"""A problem of an image. Plans hold this text and are compared with it: it stays as it is."""
OPTION = "--image-column"


class LabelledMember(NamedTuple):
    """An image of a tar with its label as given: the text of its `.cls`, else its folder's name, else None.

    `field` is what stands between the sample's name and the ending (`seg` of `000.seg.png`), empty in `000.jpg`.
    """

    member: TarMember
    label: str | None
    field: str
    ending: str
    sample: str


def label_members(contents: TarContents, file: str, left_out: LeftOut) -> list[LabelledMember]:
    """The images of a tar with their labels; labels without an image are counted as left out."""
    found, used = [], set()
    for member in contents.images:
        name = lookup_name(member.name)
        stem, _, ending = name.rpartition(".")
        folder, slash, base = name.rpartition("/")
        key, _, rest = base.partition(".")
        sample = stem if stem in contents.labels else f"{folder}{slash}{key}"
        field = "" if sample == stem else rest.rpartition(".")[0]
        texts: tuple[str, ...] = contents.labels.get(sample, ())
        used.add(sample)
        if len(texts) > 1 and not member.problem:
            member = member._replace(problem=SEVERAL_LABELS)
        label = texts[0] if texts else folder.rpartition("/")[2] or None
        found.append(LabelledMember(member, label, field, ending.lower(), sample if texts else ""))
    for stem in contents.labels:
        if stem not in used:
            left_out.add("label without an image", f"{file}/{stem}.{LABEL_ENDING}")
    return found


class FieldChoice:
    """Which field of the samples is their image: the one that is asked for, or the only one there can be.

    Without a choice, a plain `000.jpg` is the image, and images that have more in their names are other fields. What
    the first file shows holds for all files.
    """

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted.lower() if wanted is not None else None
        self._field: str | None = None
        self._first = ""

    def chosen(
        self, members: Sequence[LabelledMember], where: str, file: str, left_out: LeftOut
    ) -> list[LabelledMember]:
        """The members of a file that are images of their samples; the others are counted as left out.

        Raises:
            BadInput: there are several fields to choose from, or the chosen one is missing.
        """
        if self._wanted is None:
            field = self._only_field(members, where)
            kept = [each for each in members if not each.sample or each.field == field]
        else:
            kept = [each for each in members if self._is_wanted(each)]
            if members and not kept:
                raise BadInput(f"{where} has no field {self._wanted!r}: {OPTION} takes one of {_names(members)}")
        among = set(kept)
        for each in members:
            if each not in among:
                left_out.add("in other fields", f"{file}/{each.member.name}")
        self._check_single(kept, where)
        return kept

    def _is_wanted(self, each: LabelledMember) -> bool:
        return self._wanted in (each.field or each.ending, f"{each.field}.{each.ending}".lstrip("."))

    def _only_field(self, members: Sequence[LabelledMember], where: str) -> str | None:
        fields = {each.field for each in members if each.sample}
        if not fields:
            return self._field
        if "" not in fields and len(fields) > 1:
            raise BadInput(f"{where} has several images a sample, {_names(members)}: choose one with {OPTION}")
        field = "" if "" in fields else fields.pop()
        if self._field is None:
            self._field, self._first = field, where
        if field != self._field:
            raise BadInput(
                f"{where} has images in the fields {_names(members)}, other ones than {self._first}: choose one that "
                f"all files have with {OPTION}"
            )
        return field

    @staticmethod
    def _check_single(kept: Iterable[LabelledMember], where: str) -> None:
        endings: defaultdict[str, set[str]] = defaultdict(set)
        for each in kept:
            if each.sample:
                endings[each.sample].add(each.ending)
        for sample, several in endings.items():
            if len(several) > 1:
                raise BadInput(
                    f"{where} has several images of the sample {printable(sample)!r}, {', '.join(sorted(several))}: "
                    f"choose one with {OPTION}"
                )


def _names(members: Iterable[LabelledMember]) -> str:
    names = sorted({f"{each.field}.{each.ending}".lstrip(".") for each in members})
    return ", ".join(map(printable, names[:5])) + (", …" if len(names) > 5 else "")
