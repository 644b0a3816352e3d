"""What `make fuzz` has found, each by the smallest file that shows it: refused in one line, for what is wrong."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bar_model.errors import BadInput
from tests.system.fuzz.damage import DEEP
from tests.system.fuzz.doors import DOORS

Edit = Callable[[bytes], bytes]

TOO_DEEP = b"[" * DEEP


def becomes(data: bytes) -> Edit:
    """Another file in its place."""
    return lambda _: data


def replaced(old: bytes, new: bytes) -> Edit:
    """A part that is another, of any length."""

    def edit(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return edit


def with_value(path: str, value: Any) -> Edit:
    """A JSON document with another value at a path such as `results.fid.value`; without it where there is none."""

    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        *names, last = path.split(".")
        inner = document
        for name in names:
            inner = inner[int(name) if name.isdecimal() else name]
        inner[int(last) if last.isdecimal() else last] = value
        if value is KeyError:
            del inner[last]
        return json.dumps(document).encode()

    return edit


def in_safetensors(edit: Edit) -> Edit:
    """A safetensors file with an edited header."""

    def edit_header(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = edit(data[8 : 8 + length])
        return len(header).to_bytes(8, "little") + header + data[8 + length :]

    return edit_header


def about_features(path: str, value: Any) -> Edit:
    """A feature shard of which the notes in its header say something else."""

    def edit(header: bytes) -> bytes:
        document = json.loads(header)
        notes = document["__metadata__"]
        notes["bar.features"] = with_value(path, value)(notes["bar.features"].encode()).decode()
        return json.dumps(document).encode()

    return in_safetensors(edit)


def with_column(name: str, change: Callable[[pa.ChunkedArray], pa.Array | pa.ChunkedArray]) -> Edit:
    """A Parquet file of which a column has other values, of the same type."""

    def edit(data: bytes) -> bytes:
        table = pq.read_table(pa.BufferReader(data))
        place = table.column_names.index(name)
        return parquet(table.set_column(place, table.schema.field(place), change(table.column(place))))

    return edit


def first_rows(num: int) -> Edit:
    """A Parquet file with fewer rows."""
    return lambda data: parquet(pq.read_table(pa.BufferReader(data)).slice(0, num))


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def no_utf8(column: pa.ChunkedArray) -> pa.Array:
    """Texts of which none is UTF-8."""
    return pa.array([b"\xff"] * len(column)).view(pa.string())


def with_first(data: bytes) -> Callable[[pa.ChunkedArray], pa.Array]:
    """A column whose first value is this."""
    return lambda column: pa.array([data, *column.to_pylist()[1:]], column.type)


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


def in_npz(edit: Edit, member: str = "arr_0.npy") -> Edit:
    """An npz of which one array is edited."""

    def edit_archive(data: bytes) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(sink, "w") as new:
            for name in old.namelist():
                new.writestr(name, edit(old.read(name)) if name == member else old.read(name))
        return sink.getvalue()

    return edit_archive


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def global_size(data: bytes) -> bytes:
    """A tar that begins with a global header, which gives all members another size than their own headers."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"size": "99999999999"}):
        pass
    return file.getvalue()[: 2 * tarfile.BLOCKSIZE] + data


SHARED = [
    *((name, becomes(TOO_DEEP), ".") for name in ("class maps", "labels in .json", "reports")),
    *((name, becomes(b"\xff\xfe"), ".") for name in ("reports", "results of trainings", "generators, config")),
    *((name, becomes(b"[]"), ".") for name in ("reports", "results of trainings", "trainings, document")),
    *((name, becomes(b""), ".") for name in ("trainings, list", "trainings, tensors", "published files", "references")),
]
CASES: list[tuple[str, Edit, str]] = [
    *SHARED,
    ("class maps", becomes(b'{"a": 0, "a": 1}'), "the name 'a' stands there twice"),
    ("labels in .npy", replaced(b"(3,), ", b"(9999999999999,), "), "shape .9999999999999,. in 164 bytes"),
    ("labels in .npy", replaced(b"'shape'", b"('shape"), r"labels.npy: \("),
    ("reports", with_value("results.fid.value", "x"), "is no report, or damaged"),
    ("reports", with_value("results.fid.value", 10**400), "is no report, or damaged"),
    ("reports", with_value("results.fid.title", KeyError), "'title' is missing"),
    ("reports", with_value("protocol", []), "is a report of another kind"),
    ("results of trainings", with_value("metrics", {"loss": None}), "is damaged"),
    ("generators, config", with_value("config.transformer", "x"), "should be an object"),
    ("generators, config", with_value("format", "\x1b[2J"), r"format '\\x1b\[2J'"),
    ("trainings, list", with_value("checkpoint_report_indices", KeyError), "'checkpoint_report_indices' is missing"),
    ("trainings, list", with_value("checkpoint_results.0.metrics", 3), "is damaged"),
    ("trainings, list", with_value("checkpoint_results.0.metrics.score", "x"), "the score of step-.* is no number"),
    ("trainings, document", with_value("num_ranks", "x"), "is damaged"),
    ("trainings, document", with_value("values", []), "is damaged"),
    ("trainings, tensors", in_safetensors(replaced(b"saved_offsets", b"offsets")), "is no whole checkpoint"),
    ("features", about_features("keys", 3), "is no feature shard, or damaged"),
    ("features", about_features("keys", [["k"]] * 6), "keys are strings"),
    ("features", about_features("quarantined", [["k"]]), "is no feature shard, or damaged"),
    ("features", about_features("format", KeyError), "'format' is missing"),
    ("features", in_safetensors(replaced(b'"s":', b'"t":')), "has features|without the features"),
    ("features", in_safetensors(replaced(b"[6,3]", b"[3,6]")), "more or fewer images than it has keys"),
    ("codes", with_column("key", no_utf8), "is no code shard, or damaged"),
    ("codes", first_rows(3), "has 3 rows, the manifest says 6"),
    ("quarantine", with_column("where", no_utf8), "is no quarantine, or damaged"),
    ("quarantine", first_rows(3), "has 3 rows, the manifest says 6"),
    ("samples as PNG", first_rows(3), "has 3 rows, the manifest says 6"),
    ("samples as PNG", with_column("image", with_first(b"no picture")), "image 0 can't be decoded"),
    ("samples as PNG", with_column("image", with_first(png(8, 8)[:-30])), "image 0 can't be decoded"),
    ("samples as PNG", with_column("image", with_first(png(1, 1))), r"RGB of 1 × 1 px instead of RGB of 8 × 8 px"),
    ("samples as PNG", with_column("image", with_first(png(8, 8, "L"))), "L of 8 × 8 px"),
    ("samples in files", with_column("file", with_first("a\0.webp")), "can't be read"),  # pyright: ignore[reportArgumentType]
    ("images in npz", in_npz(lambda data: data[:-8]), "has 1,144 bytes for shape"),
    ("images in npz", in_npz(replaced(b"'shape'", b"('shape")), "is no npz file, or damaged"),
    ("images in npz", in_npz(replaced(b"(6, 8, 8, 3), ", b"(-6, 8, 8, 3), ")), "for shape .-6, 8, 8, 3."),
    ("images in npz", lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:], "is no npz file, or damaged"),
    ("references", in_npz(replaced(b"(4,), ", b"(9999999999999,), "), "mu.npy"), r"mu has \d+ bytes for float64"),
    ("references", in_npz(becomes(npy(np.array(["x"]))), "mu.npy"), "holds no numbers"),
    ("references", in_npz(becomes(npy(np.array([1j]))), "mu.npy"), "holds no numbers"),
    ("references", in_npz(becomes(b"\x93NUMPY"), "sigma.npy"), "mu or sigma holds no numbers"),
    ("csv list", replaced(b"label\n", b"label\rx,\n"), "has no label for ''"),
    ("csv list", replaced(b"url", b"u" * 200_000), "is no CSV file"),
    ("tar", global_size, "a member of 99,?999,?999,?999 bytes"),
]


@pytest.mark.parametrize(
    ("name", "edit", "message"), CASES, ids=[f"{name} {at}" for at, (name, *_) in enumerate(CASES)]
)
def test_what_was_found_is_refused_in_one_line(name: str, edit: Edit, message: str, tmp_path: Path) -> None:
    door = DOORS[name](tmp_path)
    original = door.originals[0]
    with pytest.raises(BadInput, match=message) as refused:
        door.enter(edit(original), original)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "edit",
    [
        *(becomes(data) for data in (TOO_DEEP, b"", b"[]", b"null", b"\xff\xfe")),
        *(with_value("tags", value) for value in (3, {"output.x.fingerprint": 3})),
        *(with_value("metrics", {"loss": value}) for value in ("x", None, 10**400)),
        *(with_value("inputs.0", value) for value in (["x"], 3, ["a", "b", ["c"]])),
        with_value("run", KeyError),
    ],
)
def test_a_summary_that_was_damaged_is_none_and_is_written_anew(edit: Edit, tmp_path: Path) -> None:
    door = DOORS["summaries"](tmp_path)
    assert door.enter(edit(door.originals[0]), door.originals[0]) == 0


def test_a_column_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    door = DOORS["parquet"](tmp_path)
    original = next(each for each in door.originals if b"more" in each)
    with pytest.raises(BadInput, match="is no Parquet file, or damaged"):
        door.enter(original.replace(b"more", b"m\xffre"), original)
