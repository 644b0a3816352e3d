"""Sources of images: tars, Parquet files, class folders and lists of URLs, listed and read as for tokenizing."""

import io
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.images.codec import BadImage
from pipeline.images.open_source import open_source
from pipeline.images.source import read_all
from tests.system.fuzz.damage import bytes_damaged, cut_off, text_damaged
from tests.system.fuzz.door import Damage, Door, MakeDoor, demand, of_several
from tests.system.fuzz.structures import BLOCK, footer_damaged, pages_damaged, table_damaged, tar_damaged

PICTURES = [b"picture %d " % number + bytes([number]) * (40 + 200 * (number % 4)) for number in range(12)]
"""Contents that are all different. A source does not look into them."""
ROWS = 6


Found = dict[str, bytes | BadImage]
"""What a source gives by key."""


def _two_files(
    ending: str, originals: list[bytes], damage: Damage, judge: Callable[[bytes, bytes, Found], None]
) -> MakeDoor:
    """A source of two files of which one is damaged, every second time the first; `judge` gets what it gave."""

    def make(place: Path) -> Door:
        def enter(data: bytes, original: bytes) -> int:
            damaged, sound = (f"{name}{ending}" for name in ("ab" if len(data) % 2 else "ba"))
            (place / damaged).write_bytes(data)
            (place / sound).write_bytes(originals[0])
            found = _read(f"{place}/*{ending}")
            judge(data, original, {key: each for key, each in found.items() if key.startswith(f"{damaged}/")})
            others = [each for key, each in found.items() if key.startswith(f"{sound}/")]
            demand(
                sorted(map(repr, others)) == sorted(map(repr, PICTURES[:ROWS])), "the file beside it has lost images"
            )
            return len(found)

        return Door(originals, damage, enter)

    return make


def _listed_only(
    ending: str, originals: list[bytes], damage: Damage, judge: Callable[[bytes, bytes, list[str]], None]
) -> MakeDoor:
    """A list of URLs in one file, which is not read further; `judge` gets the URLs."""

    def make(place: Path) -> Door:
        def enter(data: bytes, original: bytes) -> int:
            (place / f"list{ending}").write_bytes(data)
            urls = [image.key for image in open_source(f"{place}/list{ending}").listing()]
            judge(data, original, urls)
            return len(urls)

        return Door(originals, damage, enter)

    return make


def _read(url: str) -> Found:
    """Every image that a source lists, read."""
    source = open_source(url)
    listed = list(source.listing())
    stored = list(read_all(source, listed))
    names = [image.name if image.problem else image.key for image in listed]
    demand([item.key for item in stored] == names, f"{len(stored)} of {len(listed)} images are read, or others")
    demand(len(set(names)) == len(names), "an image is listed twice")
    return {item.key: item.data for item in stored}


def _tar(form: int, **names: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in names.items():
            info = tarfile.TarInfo(name.replace("_", "/", 1))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _tars() -> list[bytes]:
    in_classes = {f"{row % 3}_{row}.png": data for row, data in enumerate(PICTURES[:ROWS])}
    beside = {
        f"{row}.{end}": data for row in range(3) for end, data in (("jpg", PICTURES[row + 6]), ("cls", b"%d" % row))
    }
    long = {f"1_{'n' * 120}{row}.png": data for row, data in enumerate(PICTURES[:3])}
    return [
        _tar(tarfile.USTAR_FORMAT, **in_classes),
        _tar(tarfile.USTAR_FORMAT, **beside),
        _tar(tarfile.GNU_FORMAT, **long),
        _tar(tarfile.PAX_FORMAT, **long),
    ]


def _judge_tar(data: bytes, original: bytes, found: Found) -> None:
    """Every plain member that an independent, stricter reader finds is there; nothing follows where it can't go on."""
    members, is_whole = _plain_members(data)
    missing = Counter(members) - Counter(each for each in found.values() if isinstance(each, bytes))
    refused = sum(isinstance(each, BadImage) for each in found.values())  # Such as a second one of a name.
    demand(missing.total() <= refused, f"{missing.total()} members before the damage are gone")
    demand(is_whole is not False, "cut off or damaged, and taken for whole")


def _plain_members(data: bytes) -> tuple[list[bytes], bool | None]:
    """Pictures before the first header that is not a plain one; whether the tar is whole, None where it can't tell."""
    members, at = [], 0
    while True:
        header = data[at : at + BLOCK]
        if len(header) < BLOCK:
            return members, False
        if not any(header):
            return members, not any(data[at:])
        size, summed = (_octal(header[start:end]) for start, end in ((124, 136), (148, 156)))
        plain_sum = sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")
        if summed is not None and summed != plain_sum and all(byte < 128 for byte in header):
            return members, False
        if header[156:157] not in (b"0", b"\0") or size is None or summed != plain_sum:
            return members, None
        # A prefix of the name may make it hidden.
        name = header[345:500].partition(b"\0")[0] + b"/" * any(header[345:500]) + header[:100].partition(b"\0")[0]
        content = data[at + BLOCK : at + BLOCK + size]
        if len(content) < size:
            return members, False
        if name.endswith((b".png", b".jpg")) and name.isascii() and b"/." not in name and not name.startswith(b"."):
            members.append(content)
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(byte in b"01234567" for byte in digits) else None


def _parquets() -> list[bytes]:
    images = pa.array([{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(PICTURES[:ROWS])])
    tables = [
        pa.table({"image": images, "label": pa.array(range(ROWS), pa.int64())}),
        pa.table({"image": images, "label": [str(row) for row in range(ROWS)], "more": [0.5] * ROWS}),
    ]
    ways = ({"compression": "none"}, {"compression": "zstd", "use_dictionary": False}, {"data_page_version": "2.0"})
    return [_parquet(table, **way) for table in tables for way in ways]


def _parquet(table: pa.Table, **options: str | bool) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=2, **options)  # pyright: ignore[reportArgumentType]
    return sink.getvalue().to_pybytes()


def _judge_parquet(data: bytes, original: bytes, found: Found) -> None:
    """As many rows as the footer says; of a file with the footer of the original, as many as that had."""
    footer = len(original) - 8 - int.from_bytes(original[-8:-4], "little")
    if len(data) == len(original) and data[footer:] == original[footer:]:
        demand(len(found) == ROWS, f"{len(found)} of {ROWS} rows")
    demand(len(found) == pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows, "other rows than the footer says")
    if data == original:
        demand(list(found.values()) == PICTURES[:ROWS], "a sound file has lost bytes")


URLS = [f"pictures/{row}.png" for row in range(ROWS)]


def _judge_list(data: bytes, original: bytes, urls: list[str]) -> None:
    """Every row that ends before the damage is there and, where nothing is quoted, as many as there are lines."""
    shorter = min(len(data), len(original))
    same = next((at for at in range(shorter) if data[at] != original[at]), shorter)
    rows = data[: data.rfind(b"\n", 0, same) + 1].decode().splitlines()[1:]
    gone = [row for row in rows if not any(url in row for url in urls)]
    demand(not gone, f"{len(gone)} rows before the damage are gone")
    num = len([line for line in data.splitlines() if line.strip()]) - 1
    demand(b'"' in data or b"\r" in data or len(urls) == num, f"{len(urls)} of {num} rows")


def _judge_list_table(data: bytes, original: bytes, urls: list[str]) -> None:
    num = pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows
    demand(len(urls) == num, f"{len(urls)} of {num} rows")


def _lists() -> list[bytes]:
    plain = "url,label\n" + "".join(f"{url},{row}\n" for row, url in enumerate(URLS))
    quoted = "label,url\r\n" + "".join(f'{row},"http://x.org/{row},a.jpg"\r\n' for row in range(ROWS))
    numbered = plain.rstrip().replace("url,label", "id,url,label").replace("pictures", "7,pictures")
    return [plain.encode(), numbered.encode(), quoted.encode()]


def _list_tables() -> list[bytes]:
    table = pa.table({"url": URLS, "label": pa.array(range(ROWS), pa.int32())})
    return [_parquet(table), _parquet(table, compression="none", use_dictionary=False)]


def _class_folders(place: Path) -> Door:
    """Class folders with odd names; the damaged file is a list of their files, a path a line."""
    root = place / "root"

    def enter(data: bytes, original: bytes) -> int:
        shutil.rmtree(os.fsencode(root), ignore_errors=True)
        written = [line for number, line in enumerate(data.split(b"\n")) if _is_written(root, line, number)]
        found = _read(str(root))
        expected = {line for line in written if _is_plain(line)}
        num = sum(isinstance(each, bytes) for each in found.values())
        demand(num >= len(expected), f"{num} of {len(expected)} images")
        return len(found)

    paths = ["a/0.png", "a/1.JPG", "b c/2.webp", "ä/3.gif", "b c/deep/er/4.jpeg", "n0144/x.y.png"]
    return Door(["\n".join(paths).encode(), "\n".join(paths[:2]).encode()], text_damaged, enter)


def _is_written(root: Path, line: bytes, number: int) -> bool:
    """Whether a file of this name can be made."""
    path = os.path.join(os.fsencode(root), line.strip(b"/"))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(PICTURES[number % len(PICTURES)])
    except (OSError, ValueError):
        return False
    return os.path.realpath(path).startswith(os.path.realpath(os.fsencode(root)) + b"/")


def _is_plain(line: bytes) -> bool:
    """Whether a path is certainly that of an image in a class folder."""
    parts = line.split(b"/")
    ends = line.lower().endswith((b".png", b".webp"))
    return ends and len(parts) > 1 and line.isascii() and not any(part.startswith(b".") or not part for part in parts)


_PARQUET: tuple[Damage, ...] = (bytes_damaged, pages_damaged, footer_damaged, table_damaged)
SOURCES: dict[str, MakeDoor] = {
    "tar": _two_files(".tar", _tars(), of_several(bytes_damaged, cut_off, tar_damaged, tar_damaged), _judge_tar),
    "parquet": _two_files(".parquet", _parquets(), of_several(*_PARQUET), _judge_parquet),
    "class folders": _class_folders,
    "csv list": _listed_only(".csv", _lists(), of_several(bytes_damaged, text_damaged, text_damaged), _judge_list),
    "parquet list": _listed_only(".parquet", _list_tables(), of_several(*_PARQUET), _judge_list_table),
}
