"""Images that could not be reached are tried again by the next run, published or not; others are not."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bar_model.errors import BadInput
from pipeline.codes.comparison import OnChange
from pipeline.codes.folder import read_codes
from pipeline.codes.plan_files import read_plans
from pipeline.execution.manifest import Manifest
from pipeline.execution.quarantine import read_quarantine
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder
from tests.harness.encoding import encode, plan, publish, run, tokenizing
from tests.harness.stored import picture

pytest_plugins = ["tests.harness.fixtures_s3"]

KEYS = tuple(f"a/{number}" for number in range(7))


@dataclass(frozen=True)
class Server:
    """A source of seven images, of which some can't be reached now, and some are broken."""

    unreachable: Collection[str] = ()
    broken: Collection[str] = ()
    keys: Sequence[str] = KEYS

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        return (ListedImage(key, 0, 0, "") for key in self.keys)

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        for image in listed:
            data: bytes | BadImage = picture(0)
            if image.key in self.unreachable:
                data = UnreachableImage("answers 503")
            elif image.key in self.broken:
                data = BadImage("holds no bytes")
            yield StoredImage(image.key, image.label, f"http://there/{image.key}", data)


def quarantined(folder: Folder, manifest: Manifest) -> dict[str, bool]:
    items = [item for items in read_quarantine(folder, manifest).values() for item in items]
    return {item.key: item.passing for item in items}


@pytest.mark.parametrize("is_published", [True, False])
@pytest.mark.parametrize("on_change", ["stop", "reencode", "drop"])
def test_what_could_not_be_reached_is_tried_again(folder: Folder, is_published: bool, on_change: OnChange) -> None:
    first = Server(unreachable=("a/1", "a/4"), broken=("a/2",))
    if is_published:
        assert quarantined(folder, run(folder, first)) == {"a/1": True, "a/2": False, "a/4": True}
    else:
        message = r"2 of 7 .*there/a/1 answers 503\): run again later, which tries 1 of them again, mend them or raise"
        with pytest.raises(BadInput, match=message):
            run(folder, first, max_bad=0)
    # Some can't be reached again, which is no reason to stop or to forget them.
    again = run(folder, Server(unreachable=("a/4",), broken=("a/2",)), on_change)
    assert quarantined(folder, again) == {"a/2": False, "a/4": True}
    assert again.rows == 5
    third = run(folder, Server(broken=("a/2",)), on_change)
    assert quarantined(folder, third) == {"a/2": False}
    assert sorted(read_codes(folder.url).keys) == sorted(set(KEYS) - {"a/2"})
    # Then there is nothing left to do, though one image is broken for good.
    names = [entry.name for entry in folder.list()]
    assert run(folder, Server(), on_change) == third
    assert [entry.name for entry in folder.list()] == names


def test_what_never_answers_stays_in_the_quarantine(folder: Folder) -> None:
    for generation in (1, 2, 3):
        manifest = run(folder, Server(unreachable=("a/6",)))
        assert quarantined(folder, manifest) == {"a/6": True}
        assert (manifest.generation, manifest.rows, manifest.inputs.num) == (generation, 6, 7)
    assert run(folder, Server()).rows == 7
    with pytest.raises(BadInput, match="1 images are not as they were encoded, a/6 is gone"):
        plan(folder, Server(keys=KEYS[:-1]))


def test_two_runs_of_which_one_reached_the_server(folder: Folder) -> None:
    """The file that is there first counts for both, and whichever publishes first, both end well."""
    bad, good = Server(unreachable=("a/1",)), Server()
    slow = plan(folder, good)
    encode(folder, slow, bad)
    fast = plan(folder, good)
    assert [unit.dropped for unit in fast] == [("a/1",), (), (), ()]
    encode(folder, fast, good)
    newest = publish(folder, fast)
    assert (newest.rows, newest.num_quarantined) == (7, 0)
    other = Folder(f"{folder.url}-other")
    for entry in folder.list():
        if entry.name != newest.name:
            other.write(entry.name, folder.read(entry.name))
    assert Manifest.read(folder) == newest
    assert publish(other, slow).num_quarantined == 1
    assert publish(other, fast).rows == 7
    assert len(read_plans(folder)) == 2


def test_a_damaged_shard_is_left_to_the_stage_to_name(folder: Folder) -> None:
    units = plan(folder, Server())
    encode(folder, units, Server())
    folder.write(tokenizing.file_name(units[1]), b"PAR1")
    assert plan(folder, Server()) == units
    with pytest.raises(BadInput, match="remove it and run again"):
        run(folder, Server())
