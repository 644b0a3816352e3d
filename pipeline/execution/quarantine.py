"""The quarantine: a table beside the manifest of the inputs that could not be used, where they lie, and why."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput
from pipeline.execution.manifest import FileEntry, Manifest, Quarantined, read_checked
from pipeline.storage import Folder
from pipeline.tables import read_parquet

REASONS_SHOWN = 3
_SCHEMA = pa.schema([(name, pa.string()) for name in ("file", "key", "where", "why")])
_WITH_PASSING = _SCHEMA.append(pa.field("passing", pa.bool_()))


def write_quarantine(folder: Folder, quarantined: Mapping[str, Sequence[Quarantined]]) -> FileEntry | None:
    """Writes the table from the quarantined inputs of each file's unit, and gives its entry for the manifest.

    The table is named by its content. Where nothing is quarantined there is no table, and the entry is None. The column
    `passing` is there where a reason may pass, so that all other tables are as those of older versions.
    """
    rows = [{"file": file, **item._asdict()} for file, items in sorted(quarantined.items()) for item in items]
    if not rows:
        return None
    schema = _WITH_PASSING if any(row["passing"] for row in rows) else _SCHEMA
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression="zstd", write_statistics=False)
    data = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"quarantine-{sha256[:12]}.parquet"
    folder.create(name, data)
    return FileEntry(name, sha256[:12], len(rows), len(data), sha256)


def frequent_reasons(quarantined: Iterable[Quarantined]) -> str:
    """The most frequent reasons with their numbers, for a message; empty where nothing is quarantined.

    Reasons that differ only in their figures are counted together, and shown as the first of them.
    """
    items = list(quarantined)
    shown: dict[str, str] = {}
    for item in items:
        shown.setdefault(_kind(item.why), item.why)
    counts = Counter(_kind(item.why) for item in items)
    parts = [f"{num:,} {shown[kind]}" for kind, num in counts.most_common(REASONS_SHOWN)]
    if (rest := len(items) - sum(num for _, num in counts.most_common(REASONS_SHOWN))) > 0:
        parts.append(f"{rest:,} for other reasons")
    if num_passing := sum(item.passing for item in items):
        parts.append(f"the next run tries {num_passing:,} of them again")
    return "; ".join(parts)


def _kind(why: str) -> str:
    return re.sub(r"\d[\d,.]*", "#", why)


def read_quarantine(folder: Folder, manifest: Manifest) -> dict[str, tuple[Quarantined, ...]]:
    """The quarantined inputs of each file's unit, by the file's name.

    Raises:
        BadInput: the table is missing, or is another than the manifest names.
    """
    if manifest.quarantine is None:
        return {}
    where = folder.path(manifest.quarantine.name)
    data = read_checked(folder, manifest.quarantine, remedy="restore it, or make the folder anew")
    found: dict[str, list[Quarantined]] = {}
    table = read_parquet(data, where, kind="quarantine")
    if not any(table.schema.equals(schema) for schema in (_SCHEMA, _WITH_PASSING)):
        raise BadInput(f"{where} has columns {table.schema.names} of other types than a quarantine has: restore it")
    if len(table) != manifest.quarantine.rows:
        raise BadInput(f"{where} has {len(table)} rows, the manifest says {manifest.quarantine.rows}: restore it")
    for row in table.to_pylist():
        found.setdefault(row.pop("file"), []).append(Quarantined(**row))
    return {file: tuple(items) for file, items in found.items()}
