"""Files from outside that declare extension types are refused by every reader, and nothing in them runs."""

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes.plan_files import read_unit
from pipeline.codes.shard import inspect_shard
from pipeline.execution.manifest import FileEntry, Inputs, Manifest
from pipeline.execution.quarantine import read_quarantine
from pipeline.execution.unit import Unit
from pipeline.images.class_map import LabelMap
from pipeline.images.open_source import open_source
from pipeline.images.parquet import ParquetImages, read_schema
from pipeline.images.source import ListedImage
from pipeline.samples.shard import inspect_samples
from pipeline.storage import Folder
from pipeline.tables import is_plain, open_parquet, read_parquet
from tests.harness.repository import REPOSITORY

pytestmark = pytest.mark.long
REFUSED = "declares an Arrow extension type"


class Trap:
    """What an attacker pickles: unpickling it creates the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.path,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """The file that is there once anything was unpickled."""
    return tmp_path / "sprung"


@pytest.fixture
def trap(sprung: Path) -> pa.ExtensionArray:
    """Two values of Ray Data's pickled type, which `to_pylist` would unpickle: importing it has registered the type."""
    import cloudpickle
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

    values = pa.array([cloudpickle.dumps(Trap(sprung))] * 2, pa.large_binary())
    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), values)


def saved(path: Path, columns: dict[str, pa.Array], metadata: dict | None = None) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path.read_bytes()


def pictures(trap: pa.Array | None = None) -> pa.Array:
    paths = pa.array(["a.png", "b.png"]) if trap is None else trap
    return pa.StructArray.from_arrays([pa.array([b"x", b"y"]), paths], ["bytes", "path"])


def test_the_trap_is_one_where_nobody_looks(tmp_path: Path, trap: pa.Array, sprung: Path) -> None:
    saved(tmp_path / "a.parquet", {"image": pictures(trap)})
    pq.read_table(tmp_path / "a.parquet").column("image").to_pylist()
    assert sprung.exists()


PLACES: dict[str, Callable[[pa.Array], dict[str, pa.Array]]] = {
    "a picture's path": lambda trap: {"image": pictures(trap), "label": pa.array([0, 1])},
    "the labels": lambda trap: {"image": pictures(), "label": trap},
    "a column that is not read": lambda trap: {"image": pictures(), "label": pa.array([0, 1]), "more": trap},
    "deep inside": lambda trap: {
        "image": pictures(),
        "label": pa.array([0, 1]),
        "more": pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pictures(trap))], ["inner"]
        ),
    },
    "the URLs of a list": lambda trap: {"url": trap, "label": pa.array([0, 1])},
    "the labels of a list": lambda trap: {"url": pa.array(["a.png", "b.png"]), "label": trap},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_source_is_refused_when_it_is_opened(tmp_path: Path, trap: pa.Array, sprung: Path, place: str) -> None:
    saved(tmp_path / "a.parquet", PLACES[place](trap))
    with pytest.raises(BadInput, match=REFUSED):
        open_source(f"{tmp_path}/*.parquet")
    assert not sprung.exists()


@pytest.mark.parametrize("place", PLACES)
def test_a_source_is_refused_where_only_a_later_file_is_bad(
    tmp_path: Path, trap: pa.Array, sprung: Path, place: str
) -> None:
    columns = PLACES[place](trap)
    sound = {"url": pa.array(["c.png"])} if "url" in columns else {"image": pictures().slice(0, 1)}
    saved(tmp_path / "a.parquet", {**sound, "label": pa.array([0])})
    saved(tmp_path / "b.parquet", columns)
    source = open_source(f"{tmp_path}/*.parquet")
    with pytest.raises(BadInput, match=f"b.parquet {REFUSED}"):
        list(source.listing())
    assert not sprung.exists()


def test_a_worker_refuses_a_file_that_changed_after_it_was_listed(tmp_path: Path, trap: pa.Array, sprung: Path) -> None:
    saved(tmp_path / "a.parquet", PLACES["a picture's path"](trap))
    source = ParquetImages(str(tmp_path), "*.parquet", LabelMap(), "label", "image")
    with pytest.raises(BadInput, match=REFUSED):
        list(source.read([ListedImage("a.parquet/000000000", 0, 0, "")]))
    assert not sprung.exists()


def test_what_stages_leave_is_read_with_the_same_care(tmp_path: Path, trap: pa.Array, sprung: Path) -> None:
    """Code shards, sample shards, a plan's parts and the quarantine: a folder of them may come from outside, too."""
    columns = {"key": trap, "label": pa.array([0, 1]), "codes": pa.array([b"x", b"y"])}
    data = saved(tmp_path / "shard.parquet", columns, {"bar.codes": "{}", "bar.samples": "{}", "bar.quarantined": "[]"})
    for inspect in (inspect_shard, inspect_samples):
        with pytest.raises(BadInput, match=REFUSED):
            inspect(data)
    folder = Folder(str(tmp_path))
    with pytest.raises(BadInput, match=REFUSED):
        read_unit(folder, Unit(index=0, size=2, payload=["shard.parquet", 0]))
    entry = FileEntry("shard.parquet", "", 2, len(data), hashlib.sha256(data).hexdigest())
    manifest = Manifest(
        stage="tokenize", generation=1, configuration={}, inputs=Inputs(2, ""), files=(), quarantine=entry
    )
    with pytest.raises(BadInput, match=REFUSED):
        read_quarantine(folder, manifest)
    assert not sprung.exists()


PLAIN = st.sampled_from(
    [pa.int32(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.binary(4), pa.bool_()]
)


def nested(leaves: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(pa.list_),
            inner.map(pa.large_list),
            st.tuples(inner, st.integers(1, 3)).map(lambda both: pa.list_(*both)),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda parts: pa.struct([(f"field{place}", part) for place, part in enumerate(parts)])
            ),
            inner.map(lambda value: pa.map_(pa.string(), value)),
        ),
        max_leaves=5,
    )


@given(types=st.lists(nested(PLAIN), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_files_of_plain_types_are_opened_whatever_they_are(types: list[pa.DataType]) -> None:
    schema = pa.schema([(f"column{place}", kind) for place, kind in enumerate(types)])
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    assert read_parquet(sink.getvalue().to_pybytes(), "there").schema.equals(schema)
    assert all(is_plain(kind) for kind in types)


@given(types=st.lists(nested(PLAIN), max_size=3), data=st.data())
@settings(deadline=None, max_examples=50)
def test_an_extension_type_is_found_at_any_depth(types: list[pa.DataType], data: st.DataObject) -> None:
    from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType
    from ray.data._internal.tensor_extensions.arrow import ArrowTensorTypeV2

    kinds = st.sampled_from([ArrowPythonObjectType(), ArrowTensorTypeV2((2, 2), pa.int64()), pa.json_(), pa.uuid()])
    bad = data.draw(nested(kinds))
    schema = pa.schema([(f"column{place}", kind) for place, kind in enumerate([*types, bad])])
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()  # Without a row: opening alone would call into the type.
    with pytest.raises(BadInput, match=REFUSED):
        open_parquet(pa.BufferReader(sink.getvalue()), "there")
    assert not is_plain(bad)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", pa.array([[0], [1]]), "column 'label' is of type list<.*>, which is not read"),
        ("label", pa.array([b"0", b"1"]), "column 'label' is of type binary, which is not read"),
    ],
)
def test_labels_of_other_types_are_refused_by_name(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    saved(tmp_path / "a.parquet", {"image": pictures(), "label": pa.array([0, 1]), column: values})
    with pytest.raises(BadInput, match=message):
        open_source(f"{tmp_path}/*.parquet")


@pytest.mark.parametrize("bytes_type", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("text_type", [pa.string(), pa.large_string(), pa.string_view()])
def test_pictures_in_any_layout_of_bytes_and_text_are_read(
    tmp_path: Path, bytes_type: pa.DataType, text_type: pa.DataType
) -> None:
    fields = [pa.array([b"x", b"y"], bytes_type), pa.array(["a.png", "b.png"], text_type)]
    image = pa.StructArray.from_arrays(fields, ["bytes", "path"])
    saved(tmp_path / "a.parquet", {"image": image, "label": pa.array(["1", "0"], text_type)})
    source = open_source(f"{tmp_path}/*.parquet")
    listed = list(source.listing())
    assert [item.data for item in source.read(listed)] == [b"x", b"y"]
    assert [picture.label for picture in listed] == [1, 0]


def test_only_the_fields_of_a_picture_that_are_wanted_are_read(tmp_path: Path) -> None:
    image = pa.StructArray.from_arrays([pa.array([b"x"]), pa.array([1.5])], ["bytes", "path"])
    saved(tmp_path / "a.parquet", {"image": image, "label": pa.array([0])})
    source = open_source(f"{tmp_path}/*.parquet")
    (item,) = source.read(list(source.listing()))
    assert item.data == b"x"
    assert "1.5" not in item.where  # A path that is no text is left alone.


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PAR1" + bytes(64) + b"PAR1", b"x" * 99])
def test_what_is_no_parquet_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(BadInput, match=r"a.parquet is no Parquet file, or damaged \(.*\)$"):
        read_schema(Folder(str(tmp_path)), "a.parquet")


def test_no_other_file_of_the_project_opens_tables() -> None:
    """Readers of Arrow's and of Parquet files, which would trust what these declare, stand in tables.py alone."""
    readers = {
        "ParquetDataset", "ParquetFile", "RecordBatchFileReader", "dataset", "open_file", "open_stream", "read_feather",
        "read_metadata", "read_pandas", "read_parquet", "read_record_batch", "read_schema", "read_table",
    }  # fmt: skip
    offenders = []
    rooms = (REPOSITORY / room for room in ("pipeline", "bar_model", "jobs"))
    for path in sorted(file for room in rooms for file in room.rglob("*.py")):
        if path.name == "tables.py":
            continue
        tree = ast.parse(path.read_text())
        arrow = {
            alias.asname or alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if (getattr(node, "module", None) or alias.name).startswith(("pyarrow", "pandas", "ray.data"))
        }
        offenders += [
            f"{path.relative_to(REPOSITORY)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in readers
            and isinstance(node.func.value, ast.Name | ast.Attribute)
            and ast.unparse(node.func.value).partition(".")[0] in arrow
        ]
    assert not offenders
