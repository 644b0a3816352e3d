"""One try to get a page, from real servers on this machine."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.urls.limits import FetchLimits, NoAnswer
from pipeline.images.urls.policy import UrlPolicy
from pipeline.images.urls.web_client import WebClient
from tests.harness.stored import picture
from tests.harness.web_server import Server, serving

pytest_plugins = ["tests.harness.fixtures_web"]

LIMITS = FetchLimits(connect_s=2, silence_s=0.3, max_bytes=1 << 20, redirects=3)
ANYWHERE = UrlPolicy(allow_private=True)
TRY_S = 5


@pytest.fixture(scope="module")
def client() -> Iterator[WebClient]:
    with closing(WebClient(ANYWHERE, LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def guarded() -> Iterator[WebClient]:
    """A client of the default policy."""
    with closing(WebClient(UrlPolicy(), LIMITS)) as client:
        yield client


@pytest.mark.parametrize("path", ["good/1.png", "to?/good/1", "to?/to%3F/good/1", "zipped", "status/503/0"])
def test_a_picture_is_got(path: str, client: WebClient, web_server: Server) -> None:
    assert client.get(f"{web_server.url}/{path}", TRY_S) in (picture(0), picture(1))


def test_a_path_arrives_as_it_is_written(client: WebClient, web_server: Server) -> None:
    path = "/echo/a%20b%2F//c[1]*.png?x=%7E%2f&y=a+b"
    assert client.get(f"{web_server.url}{path}#part", TRY_S) == path.encode()
    assert client.get(f"{web_server.url}/to?{web_server.url}/echo/a%252Fb", TRY_S) == b"/echo/a%2Fb"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *((f"status/{status}", f"can't be read (status {status})") for status in (400, 401, 403, 404, 410, 451, 501)),
        ("endless", "is larger than 1,048,576 bytes"),
        ("huge", "is larger than 1,048,576 bytes"),
        ("bomb", "is larger than 1,048,576 bytes"),
        ("unzipped", "can't be read: its content is not compressed as the server says"),
        ("loop", "can't be read: it was redirected more than 3 times"),
        ("to?file:///etc/hostname", "can't be read: it was redirected to what is no URL of a web server"),
        ("to?ftp://host/a", "can't be read: it was redirected to what is no URL of a web server"),
        ("to?http://[::1", "can't be read: it was redirected to what is no URL of a web server"),
        ("to?", "can't be read: it was redirected more than 3 times"),
    ],
)
def test_what_will_not_be_better_is_bad(path: str, reason: str, client: WebClient, web_server: Server) -> None:
    with pytest.raises(BadImage) as error:
        client.get(f"{web_server.url}/{path}", TRY_S)
    assert (type(error.value), str(error.value)) == (BadImage, reason)


@pytest.mark.parametrize("path", ["endless", "bomb"])
def test_an_answer_without_end_takes_no_more_memory_than_the_limit(
    path: str, client: WebClient, web_server: Server
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadImage, match="larger"):
            client.get(f"{web_server.url}/{path}", TRY_S)
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMITS.max_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("path", "after_s", "reason"),
    [
        *((f"status/{status}", None, f"status {status}") for status in (408, 425, 429, 500, 502, 503, 504)),
        ("after/7", 7, "status 429"),
        ("after/7/503", 7, "status 503"),
        ("after/Wed,%2021%20Oct%202015%2007:28:00%20GMT", 0, "status 429"),
        ("after/soon", None, "status 429"),
        ("reset", None, "broke off"),
        ("close", None, "broke off"),
        ("cut", None, "broke off"),
        ("nonsense", None, "broke off"),
        ("hang", None, "took too long"),
    ],
)
def test_what_may_be_better_is_no_answer(
    path: str, after_s: float | None, reason: str, client: WebClient, web_server: Server
) -> None:
    with pytest.raises(NoAnswer, match=reason) as error:
        client.get(f"{web_server.url}/{path}", TRY_S)
    assert (error.value.after_s, error.value.retry) == (after_s, True)


def test_an_answer_that_drips_ends_with_the_time(client: WebClient, web_server: Server) -> None:
    start = time.monotonic()
    with pytest.raises(NoAnswer, match="took too long"):
        client.get(f"{web_server.url}/drip", 0.5)
    assert time.monotonic() - start < 3


def test_servers_that_are_not_there(client: WebClient, web_server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Bound, but it does not listen.
        with pytest.raises(NoAnswer, match=r"can't be connected to \(Connection refused\)"):
            client.get(f"http://127.0.0.1:{unused.getsockname()[1]}/", TRY_S)
    with pytest.raises(NoAnswer, match="name of its server can't be resolved"):
        client.get("http://nowhere.invalid/a.png", 20)
    with pytest.raises(NoAnswer, match="no valid certificate") as error:
        client.get(f"https{web_server.url[4:]}/good/1", TRY_S)
    assert not error.value.retry
    for name in ("a..b", "a" * 80 + ".com", "256.256.256.256.256"):
        with pytest.raises((BadImage, NoAnswer)):
            client.get(f"http://{name}/", TRY_S)


def test_a_login_is_sent_to_its_own_host_alone(client: WebClient, web_server: Server) -> None:
    login = web_server.url.replace("//", "//user:pa%3Ass@")
    with serving() as other:
        client.get(f"{login}/to?/good/1", TRY_S)
        client.get(f"{login}/to?{other.url}/good/1", TRY_S)
        assert web_server.logins == ["Basic dXNlcjpwYTpzcw=="] * 3
        assert other.logins == [None]


def test_a_redirect_is_judged_as_the_url_itself() -> None:
    with (
        serving("127.0.0.2") as public,
        serving() as private,
        closing(WebClient(UrlPolicy(), LIMITS, permits=lambda address: address == "127.0.0.2")) as client,
    ):
        assert client.get(f"{public.url}/to?/good/1", TRY_S) == picture(1)
        port = private.server_address[1]
        for there in (private.url, f"http://localhost:{port}", f"http://[::ffff:127.0.0.1]:{port}"):
            with pytest.raises(UnreachableImage, match="--allow-private permits it"):
                client.get(f"{public.url}/to?{there}/good/1", TRY_S)
        assert private.connected == 0


@contextmanager
def listening() -> Iterator[tuple[int, list]]:
    """A port of all addresses of this machine, and the connections that it gets."""
    connections: list = []
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                connections.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], connections
        finally:
            ended.set()
            thread.join()


def spellings(number: int) -> st.SearchStrategy[str]:
    """The ways in which systems read an address of 127.0.0.0/8."""
    address = 127 << 24 | number
    parts = [address >> shift & 255 for shift in (24, 16, 8, 0)]
    spelled = [st.sampled_from([str(part), hex(part), f"0{part:o}", f"00{part:o}"]) for part in parts]
    return st.one_of(
        st.sampled_from(
            [str(address), hex(address), f"0{address:o}", f"[::ffff:{address >> 16:x}:{address & 0xFFFF:x}]"]
        ),
        st.tuples(*spelled).map(".".join),
        st.sampled_from(
            [f"127.{number}", f"0x7f.{number}", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "0"]
        ),
        st.just("①②⑦.⓪.⓪.①"),
    )


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(host=st.integers(1, 2**24 - 2).flatmap(spellings))
def test_nothing_private_is_connected_to_however_it_is_spelled(host: str, guarded: WebClient) -> None:
    with listening() as (port, connections):
        with pytest.raises((BadImage, NoAnswer)):
            guarded.get(f"http://{host}:{port}/a.png", TRY_S)
        time.sleep(0.01)
        assert connections == []


def test_proxies_are_used_where_they_are_allowed(web_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
        monkeypatch.setenv("no_proxy", "direct.invalid")
        with closing(WebClient(ANYWHERE, LIMITS)) as client:
            assert client.get(f"{web_server.url}/good/1", TRY_S) == picture(1)
        assert proxy.connected == 0
        with closing(WebClient(UrlPolicy(allow_proxies=True), LIMITS)) as client:
            assert client.get("http://public.invalid/good/2", TRY_S) == picture(2)
            for host in ("127.0.0.1", "localhost", "sub.localhost.", "[::1]", "0x7f.1"):
                with pytest.raises((UnreachableImage, BadImage)):
                    client.get(f"http://{host}/good/2", TRY_S)
            with pytest.raises(NoAnswer, match="resolved"):
                client.get("http://direct.invalid/good/2", TRY_S)
        assert proxy.proxied == [("http://public.invalid/good/2", "Basic bWU6c2VjcmV0")]
        assert proxy.logins == [None]
