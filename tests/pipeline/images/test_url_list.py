"""Lists of URLs, as CSV and as Parquet; on a disk, on S3 and on the web."""

import csv
import io
import os
import socket
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.open_source import open_source
from pipeline.images.source import Source, StoredImage, listing_order
from pipeline.images.url_list import UrlList
from pipeline.images.urls.limits import FetchLimits
from pipeline.images.urls.policy import UrlPolicy
from pipeline.storage import Folder
from tests.harness.stored import items, parquet, picture
from tests.harness.web_server import Server

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_web"]

QUICK = FetchLimits(silence_s=0.3, try_s=0.5, total_s=2, first_wait_s=0.01, longest_wait_s=0.1, max_bytes=1 << 20)


def quick(source: Source) -> UrlList:
    assert isinstance(source, UrlList)
    return replace(source, limits=QUICK)


def reasons(read: list[StoredImage]) -> dict[str, str]:
    return {item.key: str(item.data) for item in read if isinstance(item.data, BadImage)}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_of_urls(kind: str, any_folder: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "a b.png"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(picture(0))
    any_folder.write("pictures/1,5.png", picture(1))
    rows = [
        ("pictures/1,5.png", 1),
        (f" file://{elsewhere}", 0),
        (f"{any_folder.url}/pictures/1,5.png", 2),
        ("pictures/no.png", 2),
        ("pictures/1,5.png", 1),
        ("../up.png", 2),
        (" pictures/1,5.png ", 0),
    ]
    urls, labels = zip(*rows, strict=True)
    text = "\ufefflabel,url\r\n" + "".join(f'{label},"{url}"\r\n' for url, label in rows)
    any_folder.write(f"list.{kind}", text.encode() if kind == "csv" else parquet({"label": labels, "url": urls}))
    there = f"{any_folder.url}/list.{kind}"
    read = items(open_source(there, num_classes=3, policy=UrlPolicy(allow_local=True)))
    found = {item.key: item.data for item in read}
    for key, number in [(urls[0], 1), (urls[2], 1), (urls[6], 1), (urls[1].strip(), 0)]:
        assert found.pop(key) == picture(number)
    assert {key: str(why) for key, why in found.items()} == {
        "../up.png": "its path climbs out of the folder",
        "pictures/no.png": "can't be read (FileNotFoundError)",
        "pictures/1,5.png (again: 1)": "has the key of another picture",
    }
    assert "--allow-local permits it" in reasons(items(open_source(there)))[urls[1].strip()]
    with pytest.raises(BadInput, match=f"list.{kind}, row 2: label 2 is out of range: labels are 0 to 1"):
        items(open_source(there, num_classes=2))


def bad_rows(root: Path, web: str) -> dict[str, str]:
    """Rows that can't be read, each of another kind, and why."""
    os.mkfifo(root / "pipe")
    (root / "link.png").symlink_to("/etc/hostname")
    return {
        "http://nowhere.invalid/a.png": "name of its server can't be resolved",
        f"{web}/status/500": "status 500), tried 4 times",
        f"{web}/status/503": "status 503), tried 4 times",
        f"{web}/close": "broke off",
        f"{web}/reset": "broke off",
        f"{web}/hang": "took too long",
        f"{web}/endless": "is larger than 1,048,576 bytes",
        f"{web}/bomb": "is larger than 1,048,576 bytes",
        f"{web}/unzipped": "not compressed as the server says",
        f"{web}/loop": "redirected more than 10 times",
        f"{web}/status/404": "status 404",
        f"{web}/to?file:///etc/hostname": "redirected to what is no URL",
        "http://[::1/a.png": "malformed",
        "http://host:99999/a.png": "malformed",
        "htp://host/a.png": "htp:// are not opened",
        "simplecache::file:///etc/hostname": "chained",
        "data:image/png;base64,AAAA": "data: are not opened",
        "classes": "it is a folder",
        "pipe": "it is no file",
        "link.png": "--allow-local permits it",
        "/etc/hostname": "--allow-local permits it",
        "x" * 300: "OSError",
        "a\0b.png": "NUL",
        "a\nb.png": "FileNotFoundError",
        "../up.png": "climbs out",
    }


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_each_bad_row_costs_itself(kind: str, tmp_path: Path, web_server: Server) -> None:
    good = {f"{web_server.url}/good/{number}.png": picture(number) for number in range(3)}
    good |= {f"HTTP{web_server.url[4:]}/good/3.png": picture(3), "classes/[1]%20*?#.png": picture(4)}
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "[1]%20*?#.png").write_bytes(picture(4))
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{dead.getsockname()[1]}/a.png"
        bad = {**bad_rows(tmp_path, web_server.url), refused: "Connection refused"}
        urls = [*good, *bad, None, " "]
        text = io.StringIO()
        csv.writer(text).writerows([("url", "label"), *((url, 1) for url in urls)])
        data = text.getvalue().encode() if kind == "csv" else parquet({"url": urls, "label": [1] * len(urls)})
        (tmp_path / f"list.{kind}").write_bytes(data)
        source = open_source(f"{tmp_path}/list.{kind}", policy=UrlPolicy(allow_private=True))
        read = items(quick(source), size=100)
    assert {item.key: item.data for item in read if isinstance(item.data, bytes)} == good
    why = reasons(read)
    for row in (len(urls) - 2, len(urls) - 1):
        assert why.pop(f"list.{kind}, row {row}") == "has no URL"
    assert why.keys() == bad.keys()
    assert {url: why[url] for url, reason in bad.items() if reason not in why[url]} == {}
    assert all(item.where.isprintable() for item in read)


def test_private_addresses_are_refused_until_they_are_allowed(tmp_path: Path, web_server: Server) -> None:
    (tmp_path / "a.csv").write_text(f"url,label\n{web_server.url}/good/1.png,1\n")
    (refused,) = items(open_source(f"{tmp_path}/a.csv"))
    assert isinstance(refused.data, UnreachableImage)
    assert web_server.connected == 0
    (allowed,) = items(open_source(f"{tmp_path}/a.csv", policy=UrlPolicy(allow_private=True)))
    assert allowed.data == picture(1)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_secrets_of_urls_are_used_but_not_kept(kind: str, any_folder: Folder, web_server: Server) -> None:
    login = web_server.url.replace("//", "//me:SECRET@")

    def write(signature: str, num: int = 3) -> UrlList:
        urls = [
            f"{login}/good/1.png",
            *(f"{web_server.url}/echo?token=SECRET-{n}&X-Amz-Signature={signature}" for n in range(num)),
            f"{login}/status/404?sig=SECRET",
            "names;key=SECRET.png",
        ]
        rows = "".join(f"{url},1\n" for url in urls)
        data = f"url,label\n{rows}".encode() if kind == "csv" else parquet({"url": urls, "label": [1] * len(urls)})
        any_folder.write(f"list.{kind}", data)
        return quick(open_source(f"{any_folder.url}/list.{kind}", policy=UrlPolicy(allow_private=True)))

    source = write("SECRET-a")
    any_folder.write("names;key=SECRET.png", picture(2))
    listed = list(source.listing())
    read = list(source.read(listed))
    echoes = sorted(item.data for item in read if isinstance(item.data, bytes) and item.data.startswith(b"/echo"))
    assert echoes == [f"/echo?token=SECRET-{n}&X-Amz-Signature=SECRET-a".encode() for n in range(3)]
    assert {item.data for item in read} >= {picture(1), picture(2)}
    assert web_server.logins.count("Basic bWU6U0VDUkVU") == 2
    assert [item.key for item in read if "SECRET" in item.key] == ["names;key=SECRET.png"]  # A file is called so.
    assert all("SECRET" not in item.where + str(item.data) for item in read if isinstance(item.data, BadImage))
    assert list(write("SECRET-b").listing()) == listed  # Signed again.
    (echo,) = source.read([image for image in listed if "token" in image.key][:1])
    assert isinstance(echo.data, bytes)
    assert b"SECRET-b" in echo.data
    # A list that has changed meanwhile.
    (gone, *_) = [item for item in write("SECRET-b", 2).read(listed) if isinstance(item.data, UnreachableImage)]
    assert "is not in its list any more" in str(gone.data)
    any_folder.remove(f"list.{kind}")
    assert "is not in its list any more" in reasons(list(source.read(listed)))[gone.key]


def test_a_broken_line_does_not_show_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,label\nhttps://me:SECRET@host/a?token=SECRET,1,2\n")
    with pytest.raises(BadInput, match="got 3") as error:
        items(open_source(f"{tmp_path}/a.csv"))
    assert "SECRET" not in str(error.value)


def test_what_is_read_ahead_is_bounded(tmp_path: Path, web_server: Server) -> None:
    (tmp_path / "a.csv").write_text("url,label\n" + "".join(f"{web_server.url}/good/{n},1\n" for n in range(200)))
    source = quick(open_source(f"{tmp_path}/a.csv", policy=UrlPolicy(allow_private=True)))
    reading = source.read(list(source.listing()))
    next(reading)
    reading.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert sum(web_server.asked.values()) <= 65


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("address,label\na,1\n", "its first line names no column 'url'\\)"),
        ("url,class\na,1\n", "its first line names no column 'label'\\)"),
        ("url\tlabel\na\t1\n", "its columns are parted by tabs, write it with commas"),
        ("url;label\na;1\n", "its columns are parted by semicolons"),
        ("url,label,url\na,1,b\n", "several columns 'url'"),
        ("url,label\na,1,2\n", "is no CSV file with columns url, label .*Expected 2 columns, got 3"),
        ('url,label\n"a,1\n', "is no CSV file with columns url, label"),
        ("", "is no CSV file with columns url, label"),
        ("url,label\na,\n", "row 0: .* no label"),
        ("url,label\na,1\nb,ox\n", "row 1: the class map has no label for 'ox'"),
        ("url,label\na,1\n".encode("utf-16"), "it is UTF-16: write it as UTF-8"),
        (b"url,label\na,caf\xe9\n", "row 0: the class map has no label for"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is no CSV file with columns url, label"),
    ],
)
def test_lists_that_are_none(data: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(BadInput, match=f"a.csv.*{message}") as error:
        items(open_source(f"{tmp_path}/a.csv"))
    assert "\n" not in str(error.value)


def test_a_url_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "list.csv").write_bytes(b"url,label\ncaf\xe9.png,1\na.png,2\n")
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9.png", b"a.png"]).buffers())
    (tmp_path / "list.parquet").write_bytes(parquet({"url": broken, "label": [1, 2]}))
    for name in ("list.csv", "list.parquet"):
        read = items(open_source(f"{tmp_path}/{name}"))
        assert reasons(read) == {"caf\\xe9.png": "has a name that is no UTF-8"}
        assert {item.key: item.label for item in read} == {"caf\\xe9.png": 1, "a.png": 2}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ab/.!-é\0\x01", min_size=1, max_size=6), max_size=9))
def test_a_list_is_in_order_however_it_lies(tmp_path_factory: pytest.TempPathFactory, urls: list[str]) -> None:
    root = tmp_path_factory.mktemp("list")
    (root / "a.parquet").write_bytes(parquet({"url": pa.array(urls, pa.string()), "label": [0] * len(urls)}))
    listed = list(open_source(f"{root}/a.parquet").listing())
    assert sorted(each.key for each in listed) == sorted(urls)
    assert listed == sorted(listed, key=listing_order)
    assert len({each.name for each in listed}) == len(urls)


def test_a_list_is_read_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "LIST.CSV").write_text("url,label\na.png,1\n")
    (tmp_path / "LIST.PARQUET").write_bytes(parquet({"url": ["a.png"], "label": [1]}))
    for name in ("LIST.CSV", "LIST.PARQUET"):
        assert [(item.label, item.data) for item in items(open_source(f"{tmp_path}/{name}"))] == [(1, picture(0))]
