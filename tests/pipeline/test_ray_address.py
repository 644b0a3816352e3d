"""Addresses at which no Ray answers are named within seconds, whatever listens there."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bar_model.errors import BadInput
from pipeline import ray_address
from pipeline.ray_address import answers, check_address


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each connection is handed to `serve`."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return
                serve(kept[-1])

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def swallow(connection: socket.socket) -> None:
    """As a firewall that drops packets does, or a process that hangs."""


def close(connection: socket.socket) -> None:
    connection.close()


def greet(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")


def speak_grpc(connection: socket.socket) -> None:
    connection.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize(
    ("serve", "why"),
    [(swallow, "nothing came back within 0.3 s"), (close, ""), (greet, "what listens there is no Ray")],
)
def test_what_is_no_ray_is_named_in_time(
    monkeypatch: pytest.MonkeyPatch, scheme: str, serve: Callable[[socket.socket], None], why: str
) -> None:
    monkeypatch.setattr(ray_address, "TIMEOUT_S", 0.3)
    with listening(serve) as port:
        address = f"{scheme}127.0.0.1:{port}"
        began = time.monotonic()
        with pytest.raises(BadInput, match=rf"no Ray cluster answers at {address} \(.*{why}") as caught:
            check_address(address)
        assert time.monotonic() - began < 5
        assert not answers(address)
    assert "\n" not in str(caught.value)


def test_the_time_that_is_waited_is_bearable() -> None:
    assert 2 * ray_address.TIMEOUT_S <= 30


def test_what_speaks_as_ray_does_answers() -> None:
    with listening(speak_grpc) as port:
        check_address(f"127.0.0.1:{port}")
        assert answers(f"ray://localhost:{port}")


def test_a_web_server_is_no_ray() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(BadInput, match="what listens there is no Ray"):
        check_address(f"127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("localhost", "no Ray cluster can be at 'localhost': give host:6379, ray://host:10001, `auto` or `local`"),
        (":6379", "can be at ':6379'"),
        ("host:", "can be at 'host:'"),
        ("host:abc", "can be at 'host:abc'"),
        ("host:0", "can be at 'host:0'"),
        ("host:99999", "can be at 'host:99999'"),
        ("host:-1", "can be at 'host:-1'"),
        ("ray://host", "can be at 'ray://host'"),
        ("ray://", "can be at 'ray://'"),
        ("tcp://host:6379", "can be at 'tcp://host:6379'"),
        ("host:6379/path", "can be at 'host:6379/path'"),
        ("::1:6379", "can be at '::1:6379'"),
        ("a b:6379", "can be at 'a b:6379'"),
        ("http://127.0.0.1:8265", "is a dashboard's address"),
        ("https://host", "is a dashboard's address"),
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9 (Connection refused)"),
        ("[::1]:9", "no Ray cluster answers at [::1]:9"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379"),
    ],
)
def test_useless_addresses_are_refused_in_one_line(address: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_address(address)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not answers(address)
