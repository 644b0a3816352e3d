"""A data set on the Hugging Face hub, for tests: the part of the hub's interface that its file system uses."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
import pytest

DATA_SET = "somebody/pictures"
API, FILES = f"/api/datasets/{DATA_SET}", f"/datasets/{DATA_SET}/resolve/main/"


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The URL of a data set, and the folder whose files it has."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    fsspec.filesystem("hf").clear_instance_cache()
    try:
        yield f"hf://datasets/{DATA_SET}", folder
    finally:
        fsspec.filesystem("hf").clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


class Hub(BaseHTTPRequestHandler):
    """Answers about one data set of one revision."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *connection) -> None:
        self._folder = folder
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answers with a file, a listing or a description of the data set."""
        path = unquote(urlsplit(self.path).path)
        if path.startswith(FILES):
            self._send_file(self._folder / path.removeprefix(FILES))
        elif path.startswith(f"{API}/tree/main"):
            self._send_tree(self._folder / path.removeprefix(f"{API}/tree/main").strip("/"))
        elif path in (API, f"{API}/revision/main"):
            self._send({"id": DATA_SET, "sha": "0" * 40, "siblings": []})
        else:
            self._send({"error": "Repository not found"}, status=404)

    def do_HEAD(self) -> None:
        """Answers as `do_GET`, without a body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Describes the paths that the request names."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        names = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        paths = [self._folder / path for path in names]
        self._send([self._description(path) for path in paths if path.exists()])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the standard library)
        """Logs nothing: a test says what went wrong."""

    def _send_tree(self, folder: Path) -> None:
        if folder.is_dir():
            self._send([self._description(path) for path in sorted(folder.iterdir())])
        else:
            self._send({"error": "Entry not found"}, status=404, code="EntryNotFound")

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self._send({"error": "Entry not found"}, status=404, code="EntryNotFound")
            return
        data, status = path.read_bytes(), 200
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if "Range" in self.headers:
            data, status = data[int(first) : int(last) + 1 if last else None], 206
        self._answer(data, status, {"ETag": f'"{path.stat().st_mtime_ns}"', "Accept-Ranges": "bytes"})

    def _description(self, path: Path) -> dict[str, object]:
        status, kind = path.stat(), "directory" if path.is_dir() else "file"
        name = path.relative_to(self._folder).as_posix()
        return {"type": kind, "path": name, "size": status.st_size, "oid": str(status.st_mtime_ns)}

    def _send(self, document: object, status: int = 200, code: str = "") -> None:
        headers = {"Content-Type": "application/json", **({"X-Error-Code": code} if code else {})}
        self._answer(json.dumps(document).encode(), status, headers)

    def _answer(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": "0" * 40, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
