"""Empty folders for tests, on a disk and on a real S3 endpoint: moto's server as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pytest

from pipeline.storage import Folder


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint's URL; the AWS environment variables point to it, for this process and those it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        _await_port(port, server)
        yield environment["AWS_ENDPOINT_URL"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def s3_folder(s3_server: str) -> str:
    """The URL of an empty folder in a bucket of its own."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/folder"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder on a disk."""
    return Folder(str(tmp_path / "out"))


@pytest.fixture(params=["disk", "s3"])
def any_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder, once on a disk and once on S3."""
    return Folder(str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("s3_folder"))


def _await_port(port: int, server: subprocess.Popen, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start within {timeout_s} s (exit code {server.poll()})")
