"""Damage inside of containers, with checksums and lengths repaired, so that it is what readers get to see."""

import io
import json
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from tests.system.fuzz.damage import DEEP, NUMBERS, VALUES, as_json, bytes_damaged, document_damaged, text_damaged

BLOCK = tarfile.BLOCKSIZE
_TAR_FIELDS = {"name": (0, 100), "mode": (100, 108), "size": (124, 136), "type": (156, 157), "link": (157, 257)}
_TAR_FIELDS |= {"magic": (257, 265), "prefix": (345, 500)}
_TAR_VALUES = (
    *(b"", b"\0", b"../../x.png", b"/x.png", b"a/\xff.png", b"a/\n.png", b"x" * 100, b"00000000000", b"77777777777"),
    *(b"-0000000001", b"00000000100", b"0o17", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + bytes(11)),
    *(b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S", b"V", b"3", b"._x.png", b"a/x.cls", b"a/x.seg.png", b"ustar  "),
)
_PAX = (b"size=-1", b"size=99999999999", b"path=a/\xff.png", b"GNU.sparse.size=9", b"hdrcharset=BINARY", b"path=")


def png_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A PNG with a damaged, moved, doubled or missing chunk, every checksum right."""
    signature, rest = original[:8], original[8:]
    chunks: list[tuple[bytes, bytes]] = []
    while rest:
        length = int.from_bytes(rest[:4], "big")
        chunks.append((rest[4:8], rest[8 : 8 + length]))
        rest = rest[12 + length :]
    place = chance.randrange(len(chunks))
    kind, data = chunks[place]
    chunks[place : place + 1] = chance.choice(
        (
            [(kind, bytes_damaged(chance, data, [data]))],
            [(kind, bytes_damaged(chance, data, [data]))],
            [(chance.choice((b"IDAT", b"PLTE", b"acTL", b"fdAT", b"zTXt", b"iCCP", b"eXIf", b"tRNS", b"IEND")), data)],
            [(kind, data)] * 2,
            [],
        )
    )
    if chance.random() < 0.2:
        chance.shuffle(chunks)
    return signature + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )


def tar_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A tar with odd fields in a header, an odd extended header or none of its end marks, the header's sum right."""
    data = bytearray(original)
    with tarfile.open(fileobj=io.BytesIO(original)) as tar:
        headers = [member.offset_data - BLOCK for member in tar]
    at = chance.choice(headers)
    how = chance.randrange(6)
    if how == 0:
        record = chance.choice(_PAX)
        body = b"%d %b\n" % (len(record) + 2 + len(str(len(record) + 4)), record)
        data[at:at] = _tar_header(b"pax", len(body), chance.choice((b"x", b"g"))) + body.ljust(BLOCK, b"\0")
    elif how == 1:
        name = chance.choice(_TAR_VALUES)
        data[at:at] = _tar_header(b"././@LongLink", len(name), chance.choice((b"L", b"K"))) + name.ljust(BLOCK, b"\0")
    else:
        start, end = chance.choice(list(_TAR_FIELDS.values()))
        value = chance.choice(_TAR_VALUES)[: end - start]
        data[at + start : at + end] = value.ljust(end - start, b"\0")
        data[at : at + BLOCK] = _with_sum(bytes(data[at : at + BLOCK]))
    return bytes(data).rstrip(b"\0") if chance.random() < 0.05 else bytes(data)


def npz_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A zip of arrays of which one has another header, content, name or compression, every checksum right."""
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = chance.choice(list(members))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive, warnings.catch_warnings(action="ignore"):  # Of a name that is doubled.
        for name, data in members.items():
            if name != chosen:
                archive.writestr(name, data)
                continue
            damaged = npy_damaged(chance, data, [data]) if chance.random() < 0.8 else data
            other = chance.choice((name, name, name, f"{name}x", "../x.npy", "", "arr_0.npy", "mu.npy"))
            kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            archive.writestr(zipfile.ZipInfo(other or "x"), damaged, kind)
    return sink.getvalue()


def npy_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """An npy file whose header, a Python literal, is damaged with its length right, or whose numbers are."""
    length = int.from_bytes(original[8:10], "little")
    header, content = original[10 : 10 + length], original[10 + length :]
    how = chance.randrange(4)
    if how == 0:
        content = bytes_damaged(chance, content, [content])
    elif how == 1:
        header = text_damaged(chance, header, [header])[:60_000]
    else:
        old = chance.choice((b"|u1", b"<f8", b"<i8", b"False", b"(", b")", b", "))
        shapes = (b"(-1,", b"(%d, " % chance.choice(NUMBERS), b"(" * chance.choice((1, 300)), b"((), ", b"(1.5, ")
        types = (b"|O", b"<U9", b"<f2", b">i8", b"<M8[s]", b"|V0", b"|S0", b"[('a', '<i4')]", b"<c16", b"<f16", b"True")
        header = header.replace(old, chance.choice((*shapes, *types)), 1)
    version = chance.choice((b"\x01\x00", b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = 2 if version[0] == 1 else 4
    return original[:6] + version + len(header).to_bytes(size, "little") + header + content


def safetensors_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A safetensors file whose header, JSON, has other values, its length right."""
    length = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + length])
    inner = header.get("__metadata__")
    if inner and chance.random() < 0.5:  # JSON within JSON is text there.
        name = chance.choice(list(inner))
        try:
            inner[name] = as_json(document_damaged(chance, json.loads(inner[name]))).decode()
        except ValueError:
            inner[name] = str(chance.choice(VALUES))
        changed = json.dumps(header).encode()
    else:
        changed = as_json(document_damaged(chance, header))
    return len(changed).to_bytes(8, "little") + changed + original[8 + length :]


def pages_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A Parquet file damaged in its pages alone."""
    footer = _footer_start(original)
    pages = original[4:footer]
    damaged = bytearray(bytes_damaged(chance, pages, [pages])[: len(pages)])
    return original[:4] + bytes(damaged).ljust(len(pages), b"\0") + original[footer:]


def footer_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A Parquet file damaged in its footer alone, its length right."""
    start = _footer_start(original)
    footer = original[start:-8]
    changed = bytes_damaged(chance, footer, [footer])
    return original[:start] + changed + len(changed).to_bytes(4, "little") + original[-4:]


def table_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A sound Parquet file of another table: columns that are gone, doubled, renamed or of other types; other notes."""
    table = pq.read_table(pa.BufferReader(original))
    place = chance.randrange(table.num_columns)
    field, column = table.schema.field(place), table.column(place)
    how = chance.randrange(7)
    if how == 0:
        table = table.remove_column(place)
    elif how == 1:
        table = table.append_column(field, column)
    elif how == 2:
        table = table.set_column(
            place, pa.field(chance.choice(("", "x", "Label", "a.b", "é", "\n")), field.type), column
        )
    elif how == 3:
        table = table.set_column(place, field.name, pa.nulls(len(table), field.type))
    elif how == 4:
        other = chance.choice(_COLUMNS)
        table = table.set_column(place, field.name, pa.array([other[0]] * len(table), other[1]))
    elif how == 5:
        table = table.slice(0, chance.randrange(len(table) + 1))
    else:
        notes = dict(table.schema.metadata or {b"x": b"{}"})
        name = chance.choice(list(notes))
        try:
            notes[name] = as_json(document_damaged(chance, json.loads(notes[name])))
        except ValueError:
            notes[name] = chance.choice((b"", b"\xff", b"[" * DEEP, b"null"))
        table = table.replace_schema_metadata(notes)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2, compression=chance.choice(("none", "snappy", "zstd")))
    return sink.getvalue().to_pybytes()


_COLUMNS = (
    *((1.5, pa.float64()), (float("nan"), pa.float32()), (-1, pa.int8()), (2**63, pa.uint64()), ("x", pa.string())),
    *(
        (b"\xff", pa.binary()),
        ([1], pa.list_(pa.int64())),
        ({"a": 1}, pa.struct([("a", pa.int32())])),
        (None, pa.null()),
    ),
    *((0, pa.timestamp("ns")), (True, pa.bool_()), ("7", pa.large_string()), (b"ab", pa.binary(2)), (0, pa.date32())),
    *(([("k", 1)], pa.map_(pa.string(), pa.int64())), (0, pa.time64("us")), (0, pa.duration("s"))),
)


def _footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _tar_header(name: bytes, size: int, kind: bytes) -> bytes:
    fields = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    return _with_sum((fields + b" " * 8 + kind + bytes(100) + b"ustar\x0000").ljust(BLOCK, b"\0"))


def _with_sum(header: bytes) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]
