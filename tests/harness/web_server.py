"""A web server on this machine that answers as the world's do: well, late, never, without end, or with nonsense."""

import gzip
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from urllib.parse import unquote

from tests.harness.stored import picture

BOMB = gzip.compress(bytes(50 << 20))


class Handler(BaseHTTPRequestHandler):
    """Answers by path: the first word says how, the others with what."""

    protocol_version = "HTTP/1.1"
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # As http.server wants it.
        if self.path.startswith("http"):  # A proxy is asked for whole URLs.
            self.server.proxied.append((self.path, self.headers.get("Proxy-Authorization")))
            self.path = "/" + self.path.split("/", 3)[3]
        with self.server.lock:
            self.server.asked[self.path] += 1
            self.server.logins.append(self.headers.get("Authorization"))
            times = self.server.asked[self.path]
        kind, *rest = self.path.partition("?")[0].strip("/").split("/")
        try:
            getattr(self, f"answer_{kind}", self.answer_missing)(times, *rest)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """One whole answer; `_` in the names of headers stands for `-`."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer_missing(self, times: int, *rest: str) -> None:
        self.send(404)

    def answer_good(self, times: int, name: str, *rest: str) -> None:
        self.send(200, picture(int(name.partition(".")[0])))

    def answer_status(self, times: int, status: str, until: str = "1000000", *rest: str) -> None:
        self.send(int(status)) if times <= int(until) else self.send(200, picture(0))

    def answer_after(self, times: int, seconds: str, status: str = "429", *rest: str) -> None:
        self.send(int(status), Retry_After=unquote(seconds)) if times == 1 else self.send(200, picture(0))

    def answer_reset(self, times: int, until: str = "1000000", *rest: str) -> None:
        if times > int(until):
            return self.send(200, picture(0))
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        return self.connection.close()

    def answer_close(self, times: int, *rest: str) -> None:
        self.close_connection = True

    def answer_cut(self, times: int, until: str = "1000000", *rest: str) -> None:
        self.send(200, picture(0)[:40], Content_Length=str(len(picture(0)) if times <= int(until) else 40))
        self.close_connection = True

    def answer_hang(self, times: int, *rest: str) -> None:
        self.server.closing.wait(30)
        self.close_connection = True

    def answer_endless(self, times: int, *rest: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.closing.is_set():
            self.wfile.write(bytes(1 << 16))

    def answer_drip(self, times: int, *rest: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.close_connection = True
        while not self.server.closing.wait(0.02):
            self.wfile.write(b"x")

    def answer_slow(self, times: int, *rest: str) -> None:
        with self.server.lock:
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        self.server.closing.wait(0.02)
        with self.server.lock:
            self.server.at_once -= 1
        self.send(200, picture(0))

    def answer_huge(self, times: int, *rest: str) -> None:
        self.send(200, b"x", Content_Length=str(10**15))
        self.close_connection = True

    def answer_bomb(self, times: int, *rest: str) -> None:
        self.send(200, BOMB, Content_Encoding="gzip")

    def answer_zipped(self, times: int, *rest: str) -> None:
        self.send(200, gzip.compress(picture(0)), Content_Encoding="gzip")

    def answer_unzipped(self, times: int, *rest: str) -> None:
        self.send(200, b"no gzip at all", Content_Encoding="gzip")

    def answer_nonsense(self, times: int, *rest: str) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        self.close_connection = True

    def answer_to(self, times: int, *rest: str) -> None:
        self.send(302, Location=unquote(self.path.partition("?")[2]))

    def answer_loop(self, times: int, *rest: str) -> None:
        self.send(302, Location=self.path)

    def answer_echo(self, times: int, *rest: str) -> None:
        self.send(200, self.path.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name that http.server gives it)
        pass


class Server(ThreadingHTTPServer):
    """What was asked for is kept, by path."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int = 0) -> None:
        super().__init__((host, port), Handler)
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.asked: Counter[str] = Counter()
        self.logins: list[str | None] = []
        self.proxied: list[tuple[str, str | None]] = []
        self.connected = self.at_once = self.most_at_once = 0

    def get_request(self) -> Any:
        self.connected += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_address[0]}:{self.server_address[1]}"


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A server for a block."""
    server = Server(host, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
