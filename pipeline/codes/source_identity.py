"""Whether a folder's source is the one that it was made from: grown by classes, or lying elsewhere, it still is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bar_model.errors import BadInput
from pipeline.codes.plan_files import Plan
from pipeline.images.class_folders import ImageFolder
from pipeline.images.class_map import normal_name
from pipeline.images.source import Source
from pipeline.redaction import redacted_values
from pipeline.storage import Folder

NAMED = 3


class SettledSource(NamedTuple):
    """A source as the plans of a folder know it, and the configuration as the folder has been claimed with it."""

    source: Source
    configuration: Mapping[str, Any]
    new_classes: Mapping[str, int]
    """The numbers of classes that no plan has."""
    moved_to: str | None
    """Where the source lies now, if no plan knows of that."""
    summary: str | None
    """The class numbers, for a person; None where the source does not number its classes."""


def settle_source(
    folder: Folder,
    configuration: Mapping[str, Any],
    claim: Mapping[str, Any] | None,
    plans: Sequence[Plan],
    source: Source,
    *,
    source_moved: bool,
) -> SettledSource:
    """Settles what a folder and a source agree on, in whatever else they differ.

    Classes may have been added, and if it is `source_moved`, the URL may be another one. All else is left for the
    comparison of configurations to name.

    Raises:
        BadInput: classes have other numbers than in the folder, or the URL is another one.
    """
    # What is stored is without secrets, and so is what is compared with it.
    there, here = (redacted_values(each).get("source") if each is not None else None for each in (claim, configuration))
    if not isinstance(there, dict) or not isinstance(here, dict) or not _are_alike(there, here):
        return SettledSource(source, configuration, {}, None, _summary(source, {}))
    added = {name: number for plan in plans for name, number in plan.classes.items()}
    known = {**(there.get("classes") or {}), **added}
    if isinstance(source, ImageFolder):
        source = source.keeping(known)
    classes = source.identity.get("classes") or {}
    _check_numbers(folder, known, classes)
    by_name = {normal_name(name) for name in known}
    new_classes = {name: number for name, number in classes.items() if normal_name(name) not in by_name}
    settled = {**here, **{name: there[name] for name in ("classes", "url") if name in there and name in here}}
    lies_at = next((plan.source for plan in reversed(plans) if plan.source is not None), there.get("url"))
    moved_to = here.get("url") if here.get("url") != lies_at else None
    if moved_to is not None and not source_moved:
        if json.loads(json.dumps(redacted_values({**configuration, "source": settled}))) == redacted_values(claim):
            raise BadInput(
                f'{folder.url} was made with another configuration (source.url: "{lies_at}" there, "{moved_to}" here): '
                "if the same images lie there now, give --source-moved; else choose another output folder"
            )
        settled["url"] = moved_to
    agreed = {**configuration, "source": settled}
    return SettledSource(source, agreed, new_classes, moved_to, _summary(source, new_classes))


def _are_alike(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether two identities are of one kind, and the stored one is whole."""
    classes = there.get("classes") or {}
    is_whole = isinstance(classes, dict) and all(type(number) is int for number in classes.values())
    return there.get("kind") == here.get("kind") and is_whole


def _check_numbers(folder: Folder, known: Mapping[str, int], classes: Mapping[str, int]) -> None:
    numbers = {normal_name(name): number for name, number in known.items()}
    others = [
        f"{name}: {numbers[normal_name(name)]} there, {number} here"
        for name, number in classes.items()
        if numbers.get(normal_name(name), number) != number
    ]
    if others:
        more = f" and {len(others) - NAMED:,} more" if len(others) > NAMED else ""
        raise BadInput(
            f"{folder.url} was made with other class numbers ({'; '.join(others[:NAMED])}{more}): choose another "
            "output folder for these, or keep those that it has (for class folders, by giving neither --classes nor "
            "--class-numbers sorted)"
        )


def _summary(source: Source, new_classes: Mapping[str, int]) -> str | None:
    if not isinstance(source, ImageFolder):
        return None
    new = ", ".join(f"{name} → {number}" for name, number in list(new_classes.items())[:NAMED])
    more = ", …" if len(new_classes) > NAMED else ""
    return source.summary + (f"; {len(new_classes):,} new: {new}{more}" if new_classes else "")
