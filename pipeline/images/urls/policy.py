"""What the URLs of a list may reach: public web servers and the list's own folder, and more where allowed by name.

A list may come from anyone, but its URLs are opened by the cluster's machines: with their disks, from inside of their
network, and with their credentials. So an address is judged by what it is when it is connected to, not by its name.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote, urlsplit

from fsspec.core import split_protocol
from yarl import URL

from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.storage import Folder

WEB = ("http", "https")
DISK = ("file", "local")
STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hf", "hdfs"})
"""Stores that are opened with the cluster's credentials."""
LONGEST_SHOWN = 20

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WITHOUT_SLASHES = re.compile(r"(https?|ftp|file|data|s3|gs):", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[!-~]+")
_KEPT = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in a path or query that is sent; the rest, such as blanks and letters of other scripts, can't."""
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # Between a provider and its customers; a cloud's metadata, too.
        "168.63.129.16/32",  # Azure's machines: a public address by its number alone.
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",
        "3fff::/20",
    )
)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class UrlPolicy:
    """What the URLs of a list may reach besides public web servers and the list's own folder."""

    allow_local: bool = False
    allow_private: bool = False
    allow_proxies: bool = False


class Target(NamedTuple):
    """What a row of a list names: a page of a web server, an object of a store, or a file of a disk."""

    kind: Literal["web", "store", "disk"]
    address: str
    """A URL, or a local path."""

    @property
    def host(self) -> str:
        """The server or bucket that answers, without credentials; empty for a disk."""
        if self.kind == "disk":
            return ""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def locate(url: str, folder: Folder, policy: UrlPolicy) -> Target:
    """What a URL of a list in `folder` names; a relative one lies below the folder.

    Raises:
        UnreachableImage: the policy forbids it, and the message names the option that allows it.
        BadImage: it is malformed, or of a kind that is never opened.
    """
    if "\0" in url:
        raise BadImage("can't be read: its URL holds a NUL character")
    scheme = _scheme(url)
    if scheme in WEB:
        return Target("web", str(request_url(url)))
    own = _own_protocol(folder)
    if scheme is None and own in WEB:
        return Target("web", str(request_url(folder.path(url))))
    if scheme is None and own is not None and not url.startswith("/"):
        return Target("store", f"{folder.url}/{_checked_name(url)}")
    if scheme is None or scheme in DISK:
        return Target("disk", _local_path(split_protocol(url)[1] if scheme else url, folder, policy))
    return Target("store", _stored_url(url, scheme, folder, policy))


def request_url(url: str) -> URL:
    """An http or https URL as it is sent: escapes are kept as they are, and what can't be sent is escaped.

    Raises:
        BadImage: it is malformed.
    """
    if _CONTROL.search(url):
        raise BadImage("can't be read: its URL holds a control character")
    try:
        parts = urlsplit(url)
        server = URL(f"{parts.scheme}://{parts.netloc}")
        if parts.scheme not in WEB or not _HOST.fullmatch(server.raw_host or "") or server.port == 0:
            raise ValueError("names no server")
        return URL.build(
            scheme=server.scheme,
            authority=server.raw_authority,
            path=quote(parts.path, safe=_KEPT) or "/",
            query_string=quote(parts.query, safe=_KEPT),
            encoded=True,
        )
    except ValueError as error:  # Its text may hold the password of the URL.
        raise BadImage("can't be read: its URL is malformed") from error


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it wraps one of the other version."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = (
            ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        )
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not is_special


def _scheme(url: str) -> str | None:
    """The scheme of a URL in small letters; None of a path.

    Raises:
        BadImage: it has one that is never opened.
    """
    found = _SCHEME.match(url)
    if found is not None:
        scheme = found[1].lower()
        if scheme in (*WEB, *DISK, *STORES):
            return scheme
        raise BadImage(f"can't be read: URLs of the kind {_shown(scheme)}:// are not opened; use https:// or a store")
    if _WITHOUT_SLASHES.match(url):
        raise BadImage(f"can't be read: URLs of the kind {_shown(url.partition(':')[0])}: are not opened")
    if "::" in url and "://" in url:
        raise BadImage("can't be read: chained URLs (…::…) are not opened")
    return None


def _shown(scheme: str) -> str:
    return scheme if len(scheme) <= LONGEST_SHOWN else f"{scheme[:LONGEST_SHOWN]}…"


def _own_protocol(folder: Folder) -> str | None:
    return None if folder.is_local else (split_protocol(folder.url)[0] or "").lower()


def _checked_name(name: str) -> str:
    if ".." in name.split("/"):
        raise BadImage("its path climbs out of the folder")
    return name


def _stored_url(url: str, scheme: str, folder: Folder, policy: UrlPolicy) -> str:
    address = f"{scheme}://{_checked_name(url[len(scheme) + len('://') :])}"
    if not policy.allow_private and not address.startswith(f"{folder.url}/"):
        raise UnreachableImage(
            "lies in a store outside of the list's folder, where the cluster's credentials would be used: "
            "--allow-private permits it"
        )
    return address


def _local_path(name: str, folder: Folder, policy: UrlPolicy) -> str:
    """The path of a file of this machine, links resolved."""
    try:
        path = (Path(folder.url) / _checked_name(name) if folder.is_local else Path(name)).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # A circle of links, a name that is too long.
        raise BadImage(f"can't be read ({type(error).__name__})") from error
    if not policy.allow_local and not (folder.is_local and path.is_relative_to(folder.url)):
        raise UnreachableImage("is a file of this machine outside of the list's folder: --allow-local permits it")
    return str(path)
