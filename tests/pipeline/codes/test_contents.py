"""A source that was copied is the same where its bytes are: of every kind, and only where they are."""

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.codes.comparison import OnChange
from pipeline.codes.folder import read_codes
from pipeline.codes.plan_files import read_plans
from pipeline.images.class_folders import ImageFolder
from pipeline.images.left_out import LeftOut
from pipeline.images.open_source import open_source
from pipeline.images.source import ListedImage, StoredImage, SummedUpSource
from pipeline.storage import Folder
from tests.harness.encoding import encode, plan, publish, run
from tests.harness.stored import as_structs, parquet, picture

pytest_plugins = ["tests.harness.fixtures_s3"]

NUM = 8
CHANGED = [0, 1, 99, *range(3, NUM)]
"""Pictures of noise all have the same size."""


def write(folder: Folder, kind: str, seeds: Sequence[int]) -> str:
    """Images in class folders, a tar or a Parquet file, of which the last is cut in half."""
    images = [picture(seed) for seed in seeds]
    images[-1] = images[-1][: len(images[-1]) // 2]
    if kind == "folders":
        for number, data in enumerate(images):
            folder.write(f"{'ab'[number % 2]}/{number}.png", data)
        return folder.url
    if kind == "tar":
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for number, data in enumerate(images):
                member = tarfile.TarInfo(f"{number % 2}/{number}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        folder.write("x.tar", sink.getvalue())
    else:
        labels = [number % 2 for number in range(len(images))]
        folder.write("x.parquet", parquet({"image": as_structs(*images), "label": labels}))
    return folder.path(f"x.{kind}")


def touch(url: str) -> None:
    """Gives all files of a folder on a disk another time, as `cp -r` does."""
    for path in [Path(url), *Path(url).rglob("*")]:
        os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("kind", ["folders", "tar", "parquet"])
@pytest.mark.parametrize("on_change", ["stop", "reencode", "drop"])
def test_a_copy_is_the_same_source(
    folder: Folder, kind: str, on_change: OnChange, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = write(folder / "images", kind, range(NUM))
    codes = folder / "codes"
    first = run(codes, open_source(url))
    assert (first.rows, first.num_quarantined) == (NUM - 1, 1)
    touch(url)
    assert run(codes, open_source(url), on_change) == first
    assert f"{NUM} of {NUM} images" in capfd.readouterr().err
    assert len(read_plans(codes)) == 2
    # What was found once is not read again, and a change afterwards is seen, though it has the same size.
    source = open_source(url)
    with monkeypatch.context() as patched:
        patched.setattr(type(source), "read", lambda *_: pytest.fail("nothing is to be read"))
        assert run(codes, source, on_change) == first
    changed = write(folder / "images", kind, CHANGED)
    if on_change == "stop":
        with pytest.raises(BadInput, match=r"1 images are not as they were encoded, \S+ has changed: restore"):
            plan(codes, open_source(changed))
    elif on_change == "reencode":
        assert run(codes, open_source(changed), on_change).rows == first.rows
    else:
        assert run(codes, open_source(changed), on_change).rows == first.rows - 1


def test_a_copy_in_a_bucket_is_the_same_source(s3_folder: str) -> None:
    """Its ETag is another one if it was uploaded in other parts; here the plan is made to say so."""
    images, codes = Folder(f"{s3_folder}/images"), Folder(f"{s3_folder}/codes")
    url = write(images, "folders", range(4))
    first = run(codes, Retagged(url, ImageFolder.open(url).classes))
    assert run(codes, open_source(url)) == first
    assert len(read_plans(codes)) == 2


class Retagged(ImageFolder):
    """Class folders whose files have other ETags."""

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        return (image._replace(version=f"{image.version}-2") for image in super().listing(left_out))


def test_a_shard_without_digests_can_not_be_compared(folder: Folder) -> None:
    url = write(folder / "images", "folders", range(4))
    first = run(folder / "codes", open_source(url), with_contents=False)
    assert run(folder / "codes", open_source(url)) == first
    touch(url)
    with pytest.raises(BadInput, match=r"4 images .*0.png has changed, or only its time .its shard keeps no digest"):
        plan(folder / "codes", open_source(url))


def test_what_can_not_be_read_is_not_taken_for_the_same(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    url = write(folder / "images", "folders", range(4))
    run(folder / "codes", open_source(url))
    touch(url)
    source = open_source(url)
    read = type(source).read

    def deny(self: SummedUpSource, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        (Path(url) / "a" / "0.png").rename(Path(url) / "a" / "gone")
        return read(self, listed)

    monkeypatch.setattr(type(source), "read", deny)
    with pytest.raises(BadInput, match=r"1 images .*a/0.png can't be compared \(can't be read \(FileNotFoundError\)\)"):
        plan(folder / "codes", source)


def test_half_done_work_is_not_done_again_for_a_copy(folder: Folder) -> None:
    """Units that have their shards stay though nothing is published yet; the others are planned anew."""
    url = write(folder / "images", "folders", range(8))
    codes = folder / "codes"
    units = plan(codes, open_source(url))
    encode(codes, units[:2], open_source(url))
    shards = {entry.name for entry in codes.list("codes-*")}
    touch(url)
    again = plan(codes, open_source(url))
    assert [unit.index for unit in again] == [0, 1, 3]
    assert not any(unit.dropped for unit in again)
    encode(codes, again, open_source(url))
    assert publish(codes, again).rows == 7
    assert shards < {entry.name for entry in codes.list("codes-*")}
    assert len(read_codes(codes.url).keys) == 7
