"""What lies in a folder, on a disk and on S3: names in order, nothing hidden, and files described."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest

from bar_model.errors import BadInput
from pipeline.filesystem import StoreError, StoreForbidden, describe_file, list_folder, open_filesystem
from pipeline.images.class_folders import read_file
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.storage import Folder, local_copy

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_files_and_folders_come_by_name_without_hidden_ones(any_folder: Folder) -> None:
    for name in ("b.txt", "a/1.txt", "a-b.txt", ".hidden", "é.txt"):
        any_folder.write(name, name.encode())
    found = list_folder(any_folder.url, is_local=any_folder.is_local)
    assert [(name, info["type"]) for name, info in found] == [
        ("a", "directory"),
        ("a-b.txt", "file"),
        ("b.txt", "file"),
        ("é.txt", "file"),
    ]
    entry = describe_file(*found[2])
    assert (entry.name, entry.size) == ("b.txt", 5)
    assert entry.version
    with pytest.raises(FileNotFoundError):
        list_folder(any_folder.path("nothing"), is_local=any_folder.is_local)


def test_links_to_nothing_are_neither_files_nor_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert [(name, info["type"]) for name, info in list_folder(str(tmp_path), is_local=True)] == [
        ("link", "dangling link")
    ]


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(BadInput, match="can't use nonsense://"):
        open_filesystem("nonsense://bucket/folder")


class Refusing(BaseHTTPRequestHandler):
    """An S3 endpoint that gives every request the same answer."""

    protocol_version = "HTTP/1.1"  # Else clients would wait for its word to send what they write.
    status, code = 403, "AccessDenied"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = f"<Error><Code>{self.code}</Code><Message>no,\nnot at all</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  (http.server's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def endpoint(monkeypatch: pytest.MonkeyPatch, url: str, *, key: str | None = "test") -> Iterator[None]:
    """S3 at this URL, for this process."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "nowhere")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
        if key is not None:
            monkeypatch.setenv(name, key)
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        yield
    finally:
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def refusing() -> Iterator[tuple[type[Refusing], str]]:
    handler = type("Handler", (Refusing,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def stream(folder: Folder) -> None:
    with folder.open("a") as file:
        file.read()


def write_stream(folder: Folder) -> None:
    with folder.writing("a") as file:
        file.write(b"x")


DOORS: dict[str, Callable[[Folder], object]] = {
    "reached": Folder.exists,
    "listed": lambda folder: list(folder.walk()),
    "read": lambda folder: folder.read("a"),
    "read in part": lambda folder: folder.read_part("a", 0, 3),
    "streamed": stream,
    "removed": lambda folder: folder.remove("a"),
    "copied": lambda folder: local_copy(folder.url),
    "checked": Folder.check_writable,
    "written": lambda folder: folder.write("a", b"x"),
    "created": lambda folder: folder.create("a", b"x"),
    "written as a stream": write_stream,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("code", "key", "kind", "remedy"),
    [
        ("AccessDenied", "test", StoreForbidden, "give credentials that may"),
        ("InvalidAccessKeyId", "test", StoreError, "give credentials that may"),
        ("", None, StoreError, "Unable to locate credentials.*: give credentials that may"),
    ],
)
def test_what_a_store_refuses_is_one_line_at_every_door(
    refusing: tuple[type[Refusing], str],
    monkeypatch: pytest.MonkeyPatch,
    door: str,
    code: str,
    key: str | None,
    kind: type[StoreError],
    remedy: str,
) -> None:
    handler, url = refusing
    handler.code = code
    with endpoint(monkeypatch, url, key=key), pytest.raises(BadInput, match=remedy) as caught:
        DOORS[door](Folder("s3://bucket/folder"))
    assert "\n" not in str(caught.value)
    assert "s3://bucket/folder" in str(caught.value)
    # Whoever has only the head of an answer can't tell bad credentials from a file that is not for them.
    assert type(caught.value) is kind or door in ("reached", "copied", "checked", "read", "streamed")
    assert str(copy.copy(caught.value)) == str(caught.value)  # As a pickle, it survives the way from a worker.


@pytest.mark.long
def test_a_store_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        endpoint(monkeypatch, "http://127.0.0.1:9"),
        pytest.raises(StoreError, match=r"can't be written .*: check the"),
    ):
        Folder("s3://bucket/folder").write("a", b"")
    script = "from pipeline.storage import Folder; Folder('hf://datasets/a/b').exists()"
    # Read when the library is imported.
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    *_, last = done.stderr.splitlines()
    assert last.startswith("pipeline.filesystem.StoreError: hf://datasets/a/b can't be reached (ConnectError")


def test_a_picture_that_is_not_for_this_user_may_be_tried_again(
    refusing: tuple[type[Refusing], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = refusing
    folder = Folder("s3://bucket/folder")
    with endpoint(monkeypatch, url):
        found = read_file(folder, "a.png")
        assert isinstance(found, UnreachableImage)
        handler.status, handler.code = 404, "NoSuchKey"
        gone = read_file(folder, "a.png")
        assert isinstance(gone, BadImage)
        assert not isinstance(gone, UnreachableImage)
        assert str(gone) == "can't be read (FileNotFoundError)"


def test_what_a_disk_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    below = Folder(f"{tmp_path}/file/below")
    for door in (lambda: below.write("a", b""), lambda: below.create("a", b""), lambda: Folder(str(tmp_path)).read("")):
        with pytest.raises(BadInput, match=f"{tmp_path}.*(make the bucket or folder first|is a folder, where)"):
            door()
    with pytest.raises(FileNotFoundError):
        Folder(str(tmp_path)).read("gone")


def test_a_bucket_that_is_missing_is_no_missing_file(s3_server: str) -> None:
    folder = Folder("s3://no-such-bucket/folder")
    for door in (lambda: folder.write("a", b""), lambda: folder.create("a", b"")):
        with pytest.raises(StoreError, match=r"can't be written .*: make the bucket"):
            door()
    with pytest.raises(FileNotFoundError):
        folder.read("a")
    with pytest.raises(BadInput, match=r"s3://bucket//x.*: a key of S3 that begins with / can't be named"):
        Folder("s3://bucket//x")
