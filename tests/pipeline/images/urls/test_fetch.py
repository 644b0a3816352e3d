"""Pictures from disks, stores and web servers: what is tried again, for how long, and what is left alone."""

import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.filesystem import open_filesystem
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.urls.fetch import Fetcher, read_local
from pipeline.images.urls.limits import FetchLimits
from pipeline.images.urls.policy import Target, UrlPolicy
from pipeline.storage import Folder
from tests.harness.stored import picture
from tests.harness.web_server import Server, serving

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_web"]

ANYWHERE = UrlPolicy(allow_private=True)
LIMITS = FetchLimits(
    connect_s=1, silence_s=0.2, try_s=0.5, total_s=2, first_wait_s=0.01, longest_wait_s=1.5, max_bytes=1 << 20
)


def outcome(fetcher: Fetcher, address: str) -> bytes | BadImage:
    try:
        return fetcher.fetch(Target("web", address))
    except BadImage as error:
        return error


@pytest.mark.parametrize("path", ["status/503/2", "status/429/3", "reset/1", "cut/2", "after/1", "after/0/503"])
def test_what_passes_is_tried_again(path: str, web_server: Server) -> None:
    with Fetcher(ANYWHERE, LIMITS) as fetcher:
        start = time.monotonic()
        assert outcome(fetcher, f"{web_server.url}/{path}")
        waited = time.monotonic() - start
    assert 2 <= web_server.asked[f"/{path}"] <= 4
    assert waited >= (1 if path == "after/1" else 0)


@pytest.mark.parametrize(
    ("path", "tries", "reason"),
    [
        ("status/500", 4, "can't be read (status 500), tried 4 times"),
        ("hang", 4, "can't be read: its server took too long, tried 4 times"),
        ("after/3600", 1, "can't be read (status 429)"),
    ],
)
def test_what_does_not_pass_is_given_up_in_time(path: str, tries: int, reason: str, web_server: Server) -> None:
    start = time.monotonic()
    with Fetcher(ANYWHERE, LIMITS) as fetcher:
        error = outcome(fetcher, f"{web_server.url}/{path}")
    assert (type(error), str(error)) == (UnreachableImage, reason)
    assert web_server.asked[f"/{path}"] == tries
    assert time.monotonic() - start < LIMITS.total_s + 2


def test_all_tries_together_have_a_time(web_server: Server) -> None:
    start = time.monotonic()
    with Fetcher(ANYWHERE, FetchLimits(tries=100, try_s=0.3, total_s=0.8, first_wait_s=0.01)) as fetcher:
        error = outcome(fetcher, f"{web_server.url}/drip")
    assert isinstance(error, UnreachableImage)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("path", ["status/404", "status/403", "status/410", "huge", "unzipped", "loop"])
def test_what_is_bad_is_asked_for_once(path: str, web_server: Server) -> None:
    with Fetcher(ANYWHERE, LIMITS) as fetcher:
        assert type(outcome(fetcher, f"{web_server.url}/{path}")) is BadImage
    assert web_server.asked[f"/{path}"] == (11 if path == "loop" else 1)


def fetch_all(limits: FetchLimits, addresses: list[str]) -> tuple[list[bytes | BadImage], float]:
    """What a unit gets, and the seconds that it took."""
    start = time.monotonic()
    with Fetcher(ANYWHERE, limits) as fetcher, ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda address: outcome(fetcher, address), addresses)), time.monotonic() - start


def test_a_host_that_fails_at_once_costs_each_picture_one_try(web_server: Server) -> None:
    # With all tries, these waits alone would take 700 * 0.7 s / 8, a minute.
    pictures = [f"{web_server.url}/good/{number}" for number in range(10)]
    results, seconds = fetch_all(
        FetchLimits(first_wait_s=0.1), [*(f"{web_server.url}/status/503/9999/{n}" for n in range(700)), *pictures]
    )
    assert seconds < 20
    assert all(isinstance(result, UnreachableImage) for result in results[:700])
    assert sum(web_server.asked.values()) < 800
    assert results[700:] == [picture(number) for number in range(10)]


def test_a_host_that_hangs_is_left_alone_and_asked_once_by_each_later_unit() -> None:
    limits = replace(LIMITS, tries=2, patience_s=0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as deaf:  # It takes connections and says nothing.
        port = deaf.getsockname()[1]
        host = f"http://127.0.0.1:{port}"
        with serving() as alive:
            addresses = [f"{host}/{number}" for number in range(1000)]
            results, seconds = fetch_all(limits, [*addresses, f"{alive.url}/good/1"])
        assert seconds < 8
        assert all(isinstance(result, UnreachableImage) for result in results[:-1])
        assert str(results[-2]) == f"was not asked for: {host} has failed for the images before it"
        assert results[-1] == picture(1)
        results, seconds = fetch_all(limits, addresses)
        assert seconds < 2
        assert sum("took too long" in str(result) for result in results) == 1
    with serving(port=port) as back:
        results, _ = fetch_all(limits, [f"{back.url}/good/{number}" for number in range(20)])
    assert results == [picture(number) for number in range(20)]


def test_pictures_that_fail_among_others_do_not_bring_their_host_down(web_server: Server) -> None:
    with Fetcher(ANYWHERE, LIMITS) as fetcher:
        for number in range(12):
            assert "status 500" in str(outcome(fetcher, f"{web_server.url}/status/500"))
            assert outcome(fetcher, f"{web_server.url}/good/{number}") == picture(number)


def test_no_more_connections_to_a_host_than_its_limit(web_server: Server) -> None:
    with Fetcher(ANYWHERE, FetchLimits(at_once_per_host=3)) as fetcher, ThreadPoolExecutor(16) as pool:
        paths = [f"{web_server.url}/slow/{number}" for number in range(24)]
        assert all(pool.map(lambda path: outcome(fetcher, path), paths))
    assert web_server.most_at_once == 3


def test_local_files_that_are_none_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture(1))
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        reasons = {
            "pipe": "can't be read: it is no file",
            "socket": "can't be read: it is no file",
            "": "can't be read: it is a folder",
            "huge": "is larger than 1,048,576 bytes",
            "missing": "can't be read (FileNotFoundError)",
            "good.png/a": "can't be read (NotADirectoryError)",
            "x" * 300: "can't be read (OSError)",
        }
        with Fetcher(UrlPolicy(), LIMITS) as fetcher:
            for name, reason in {**reasons, "/dev/zero": "can't be read: it is no file"}.items():
                with pytest.raises(BadImage) as error:
                    fetcher.fetch(Target("disk", str(tmp_path / name)))
                assert (type(error.value), str(error.value)) == (BadImage, reason)
    assert read_local(str(tmp_path / "good.png"), len(picture(1))) == picture(1)


def test_objects_of_a_store(s3_folder: str) -> None:
    folder = Folder(s3_folder)
    folder.write("a b%20[1]*?#.png", picture(1))
    open_filesystem(s3_folder).pipe_file(f"{s3_folder}/b//c.png", picture(2))
    folder.write("empty", b"")
    folder.write("large", bytes(LIMITS.max_bytes + 1))
    folder.write("full", bytes(LIMITS.max_bytes))
    with Fetcher(UrlPolicy(), LIMITS) as fetcher:

        def fetch(name: str) -> bytes:
            return fetcher.fetch(Target("store", f"{s3_folder}/{name}"))

        assert fetch("a b%20[1]*?#.png") == picture(1)
        assert fetch("b//c.png") == picture(2)
        assert (fetch("empty"), len(fetch("full"))) == (b"", LIMITS.max_bytes)
        for name, reason in {"large": "is larger than", "b": "FileNotFoundError", "none": "FileNotFoundError"}.items():
            with pytest.raises(BadImage, match=reason) as error:
                fetch(name)
            assert type(error.value) is BadImage
        with pytest.raises(UnreachableImage, match="can't use oss://"):
            fetcher.fetch(Target("store", "oss://bucket/a"))


def test_a_store_that_fails_is_tried_again() -> None:
    with Fetcher(UrlPolicy(), LIMITS) as fetcher, pytest.raises(UnreachableImage) as error:
        fetcher.fetch(Target("store", "hf://datasets/some/set/a.png"))  # Hugging Face's hub is off in all tests.
    assert re.fullmatch(r"can't be read: its store failed \(\w+\), tried 4 times", str(error.value))
