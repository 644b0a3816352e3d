"""Jobs from end to end with secrets in every address that they are given: none is left in what they wrote or said."""

import base64
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from mlflow import MlflowClient

from pipeline.digits.data import write_digits
from tests.harness.mlflow_server import Server
from tests.harness.repository import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.system, pytest.mark.timeout(1200)]
SECRET = "zq0geheim/wort+9"
CODED = quote(SECRET, safe="")
FORMS = tuple(form.encode() for form in (SECRET, CODED, base64.b64encode(SECRET.encode()).decode(), "zq0geheim"))


class Signed(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, for those who know the secret."""

    def do_GET(self) -> None:
        if CODED not in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        return super().translate_path(urlsplit(path).path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base names it so)
        pass


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[str]:
    """The address of a server of digits in a folder outside of `work`."""
    write_digits(str(tmp_path / "digits"))
    handler = partial(Signed, directory=str(tmp_path / "digits"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server that keeps all in `work`."""
    folder = tmp_path / "work" / "server"
    folder.mkdir(parents=True)
    server = Server(
        *("--port", "5000", "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"),
        *("--artifacts-destination", str(folder / "files")),
    )
    yield server.uri.replace("http://", f"http://user:{CODED}@")
    server.end()


@pytest.fixture
def ray() -> Iterator[Path]:
    """A folder for Ray's files, with a name that leaves room for those of its sockets."""
    with tempfile.TemporaryDirectory(prefix="bar", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_no_secret_is_left_anywhere(tmp_path: Path, signed: str, tracking: str, ray: Path) -> None:
    work, digits = tmp_path / "work", tmp_path / "digits"
    images = sorted((digits / "train").glob("[0-2]/*.png"))[:40]
    rows = [
        f"{signed}/train/{image.parent.name}/{image.name}?X-Amz-Date=1&X-Amz-Signature={CODED},{image.parent.name}"
        for image in images
    ]
    gone = f"{signed}/gone.png?token={CODED},0"
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "list.csv").write_text("\n".join(["url,label", *rows, gone]) + "\n")
    said = b""

    def job(name: str, *arguments: str, code: int = 0) -> None:
        nonlocal said
        done = subprocess.run(
            [sys.executable, REPOSITORY / "jobs" / f"{name}.py", *arguments],
            cwd=work,
            env={**os.environ, "HOME": str(work), "XDG_CACHE_HOME": str(work / "cache"), "RAY_TMPDIR": str(ray)},
            capture_output=True,
            check=False,
            timeout=400,
        )
        said += done.stdout + done.stderr
        assert done.returncode == code, done.stdout + done.stderr

    tracked = ["--tracking.uri", tracking, "--cluster.num-cpus", "2"]
    train = [*("--steps", "3", "--batch", "8"), *tracked]
    job("train_tokenizer", "digits", *("--source", str(digits / "train"), "--out", "tokenizer"), *train)
    tokenize = ["digits", "--source", f"{tmp_path}/list/list.csv", "--tokenizer", "tokenizer/model", "--allow-private"]
    job("tokenize_images", *tokenize, "--out", "codes", "--max-bad", "0.5", *tracked)
    job("tokenize_images", *tokenize, "--out", "none", "--max-bad", "0", *tracked, code=2)
    job("train", "digits", "--codes", "codes", "--out", "generator", *train)
    job("train", "digits", "--codes", "codes", "--out", "generator", *train)
    models = ("--generator", "generator/model", "--tokenizer", "tokenizer/model")
    job("sample_images", "digits", *models, *("--out", "samples", "--num-images", "8"), *tracked)
    elsewhere = f"http://user:{CODED}@127.0.0.1:1"
    job("train", "digits", "--codes", "codes", "--out", "away", *train[:4], "--tracking.uri", elsewhere)
    job("train", "digits", "--codes", f"https://user:{CODED}@127.0.0.1:1/codes?sig={CODED}", "--out", "no", code=2)
    job("inspect_codes", "codes")
    assert b"***" in said
    wrote = {str(path): path.read_bytes() for root in (work, ray) for path in root.rglob("*") if path.is_file()}
    # What could not be delivered waits for another process, which needs the password; nobody else can read it.
    waiting = {path for path in wrote if "/tracking/" in path and path.endswith((".jsonl", ".later"))}
    assert {Path(path).stat().st_mode & 0o077 for path in waiting} == {0}
    assert waiting
    found = [path for path, data in wrote.items() if path not in waiting and any(form in data for form in FORMS)]
    assert not found
    assert any(b"http://user:***@127.0.0.1:1" in data for data in wrote.values())
    assert any(path.startswith(f"{ray}/") and path.endswith(".out") for path in wrote)
    assert not [form for form in FORMS if form in said]
    client = MlflowClient(tracking)
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len(runs) >= 5
    assert not [form for form in FORMS if form in repr([run.to_dictionary() for run in runs]).encode()]
