"""One try to get a picture from a web server, within limits of time and size, at an address that is permitted."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.urls.limits import FetchLimits, NoAnswer, too_large
from pipeline.images.urls.policy import UrlPolicy, is_public, request_url

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that say: not now."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LOOKUPS_AT_ONCE = 16
_FORBIDDEN = "is at a private address, or led to one: --allow-private permits it"


class WebClient:
    """Gets what http and https URLs name; its connections live in a thread of its own until it is closed.

    The address of each connection is checked when it is made, so also after a redirect, and whatever a name server
    answers the next time. Nothing comes from the environment: no proxies (unless allowed), no passwords, no cookies.
    """

    def __init__(self, policy: UrlPolicy, limits: FetchLimits, permits: Callable[[str], bool] = is_public) -> None:
        self._limits = limits
        self._permits: Callable[[str], bool] = (lambda address: True) if policy.allow_private else permits
        self._proxies = getproxies() if policy.allow_proxies else {}
        self._loop = asyncio.new_event_loop()
        self._lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE)
        self._loop.set_default_executor(self._lookups)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session, self._proxy_session = self._run(self._open())

    def close(self) -> None:
        """Ends all connections."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._lookups.shutdown(wait=False)  # A name server that hangs holds up nothing.
        self._loop.close()

    def get(self, url: str, timeout_s: float) -> bytes:
        """The content of a URL.

        Raises:
            NoAnswer: it can't be had now.
            UnreachableImage: its address is not permitted.
            BadImage: it can't be had at all.
        """
        return self._run(self._get_in_time(url, timeout_s))

    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _open(self) -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
        limits = self._limits
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s, sock_read=limits.silence_s)

        def session(**checks: Any) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, **checks),
                timeout=timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},  # Pictures are compressed already.
            )

        return session(socket_factory=self._checked_socket), session()

    async def _close(self) -> None:
        await self._session.close()
        await self._proxy_session.close()

    def _checked_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not self._permits(address[0]):
            raise _PrivateAddressError(_FORBIDDEN)
        return socket.socket(family, kind, protocol)

    async def _get_in_time(self, url: str, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._get(request_url(url))
        except TimeoutError as error:  # Also aiohttp's, of a connection or a read.
            raise NoAnswer("can't be read: its server took too long") from error
        except aiohttp.ClientError as error:
            raise _explained(error) from error
        except UnicodeError as error:  # A name that no name server could be asked for.
            raise BadImage("can't be read: its URL is malformed") from error

    async def _get(self, url: URL) -> bytes:
        for _ in range(self._limits.redirects + 1):
            session, proxy = self._way(url)
            async with session.get(url, allow_redirects=False, **proxy) as answer:
                if answer.status not in REDIRECTS or "Location" not in answer.headers:
                    return await self._content(answer)
                url = _redirected(url, answer.headers["Location"])
        raise BadImage(f"can't be read: it was redirected more than {self._limits.redirects} times")

    def _way(self, url: URL) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """The session for a URL, and its proxy if the environment names one that may be used."""
        proxy, host = self._proxies.get(url.scheme), url.raw_host or ""
        if proxy is None or proxy_bypass(host):
            return self._session, {}
        if _is_this_machine(host) or ((literal := _literal_address(host)) is not None and not self._permits(literal)):
            raise UnreachableImage(_FORBIDDEN)
        return self._proxy_session, {"proxy": proxy if "://" in proxy else f"http://{proxy}"}

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status in TRY_AGAIN:
            raise NoAnswer(f"can't be read (status {answer.status})", after_s=_retry_after(answer.headers))
        if not 200 <= answer.status < 300:
            raise BadImage(f"can't be read (status {answer.status})")
        limit = self._limits.max_bytes
        content = bytearray()
        if (answer.content_length or 0) <= limit:
            async for chunk in answer.content.iter_any():
                content += chunk
                if len(content) > limit:
                    break
            else:
                return bytes(content)
        answer.close()  # Nothing more of it is read.
        raise BadImage(too_large(limit))


class _PrivateAddressError(OSError):
    """A connection that the policy forbids. The text is the same for all addresses of a host, as aiohttp wants it."""


def _explained(error: aiohttp.ClientError) -> Exception:
    """What an error of the library means here. Its text, which may hold the URL, is not used."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    if isinstance(cause, _PrivateAddressError):
        return UnreachableImage(_FORBIDDEN)
    if isinstance(error, aiohttp.InvalidURL):
        return BadImage("can't be read: its URL is malformed")
    if isinstance(cause, ContentEncodingError):
        return BadImage("can't be read: its content is not compressed as the server says")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return NoAnswer("can't be read: its server has no valid certificate", retry=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        is_passing = isinstance(cause, OSError) and cause.errno == socket.EAI_AGAIN
        return NoAnswer("can't be read: the name of its server can't be resolved", retry=is_passing)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = f" ({os.strerror(cause.errno)})" if isinstance(cause, OSError) and cause.errno else ""
        return NoAnswer(f"can't be read: its server can't be connected to{reason}")
    return NoAnswer(f"can't be read: its server broke off ({type(error).__name__})")


def _redirected(url: URL, location: str) -> URL:
    try:
        there = request_url(urljoin(str(url), location))
    except (BadImage, ValueError) as error:
        raise BadImage("can't be read: it was redirected to what is no URL of a web server") from error
    if there.origin() == url.origin() and there.user is None:
        return there.with_user(url.user).with_password(url.password) if url.user else there
    return there


def _retry_after(headers: Any) -> float | None:
    """How long an answer asks to wait, in seconds or until a date; None where it does not say so."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (ValueError, OverflowError):
        return None


def _is_this_machine(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _literal_address(host: str) -> str | None:
    """The address that a host is by its spelling, as systems read it (`0x7f.1`); None of a name."""
    try:
        return host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None
