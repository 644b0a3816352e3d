"""The sets of samples that an evaluation is given: which folders make one, and none twice."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from bar_model.configuration import digest
from bar_model.errors import BadInput
from pipeline.evaluation.image_sets import ImageSet, NpzImageSet, SampleImageSet, image_set_fingerprint, open_image_set
from pipeline.samples.folder import SampleFolder
from pipeline.tracking.lineage import Input

JOINT = " + "
"""Between the URLs of folders that make one set."""


def sample_sets(urls: Sequence[str], tokenizer: str | None) -> dict[str, ImageSet]:
    """The sets at these URLs by their names; folders that were drawn alike, of one seed, are parts of one set.

    Raises:
        BadInput: there is no such set, one is there twice, or parts overlap or leave numbers out.
    """
    opened = {url: open_image_set(url, tokenizer=tokenizer) for url in urls}
    if len(opened) < len(urls):
        raise BadInput(f"samples: {next(url for url in urls if list(urls).count(url) > 1)} is named twice")
    for (url, one), (other, another) in combinations(opened.items(), 2):
        if _are_the_same(one, another):
            raise BadInput(
                f"samples: {url} and {other} hold the same pictures (two sets are of one seed, say): give each once"
            )
    alike: dict[str, list[str]] = {}
    for url, image_set in opened.items():
        own = digest(image_set.samples.drawing) if isinstance(image_set, SampleImageSet) else url
        alike.setdefault(own, []).append(url)
    return dict(_joined({url: opened[url] for url in some}) for some in alike.values())


def sample_inputs(
    urls: Sequence[str], sets: Mapping[str, ImageSet], fingerprints: Mapping[str, str]
) -> Iterator[Input]:
    """What was judged, folder by folder; `fingerprints` are those of the pictures of each set."""
    for name, image_set in sets.items():
        if isinstance(image_set, SampleImageSet):
            for url, part in zip(_urls(name, urls), image_set.parts, strict=True):
                yield Input("samples", url, part.manifest.fingerprint)
        else:
            yield Input("samples", name, fingerprints[name])


def _urls(name: str, urls: Sequence[str]) -> list[str]:
    """The URLs that a set's name consists of."""
    return [name] if name in urls else name.split(JOINT)


def _are_the_same(one: ImageSet, another: ImageSet) -> bool:
    if isinstance(one, NpzImageSet) and isinstance(another, NpzImageSet):
        return one.content == another.content
    return image_set_fingerprint(one) == image_set_fingerprint(another)


def _joined(alike: Mapping[str, ImageSet]) -> tuple[str, ImageSet]:
    """The one set that these are parts of, and its name."""
    folders = {url: each.samples for url, each in alike.items() if isinstance(each, SampleImageSet)}
    if not folders:
        return next(iter(alike.items()))
    ordered = sorted(folders, key=lambda url: _range(folders[url]).start)
    expected = 0
    for url in ordered:
        numbers = _range(folders[url])
        if numbers.start < expected:
            raise BadInput(
                f"samples: two sets are of one seed, and {url} begins with image {numbers.start:,}, which another one "
                "holds, too: give each seed once, or folders that go on where another ends"
            )
        if numbers.start > expected:
            raise BadInput(
                f"samples: {url} begins with image {numbers.start:,}, but samples are judged from 0 on, each once: "
                f"draw {expected:,} to {numbers.start - 1:,}, too, and give both folders"
            )
        expected = numbers.stop
    first, *further = (folders[url] for url in ordered)
    return JOINT.join(ordered), SampleImageSet(first, tuple(further))


def _range(samples: SampleFolder) -> range:
    """The numbers of a folder's images."""
    first = samples.manifest.configuration.get("first_index", 0)
    return range(first, first + samples.manifest.rows)
