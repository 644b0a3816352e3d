"""Addresses of Ray clusters: what one looks like, and whether Ray answers there before it is waited for."""

import os
import re
import socket
from urllib.parse import urlsplit

from bar_model.errors import BadInput

TIMEOUT_S = 10.0
"""Seconds within which a cluster has to take a connection, and then to answer on it."""
# What begins every connection of gRPC, which Ray speaks at both of its ports: HTTP/2's preface and empty settings.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME_HEADER, _SETTINGS = 9, 4
_FORM = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")


def check_address(address: str) -> None:
    """Checks that an address is one of a cluster, and that Ray answers there.

    Raises:
        BadInput: it is no address of a cluster, nothing listens there, or what does answers nothing or is no Ray.
    """
    if urlsplit(address).scheme in ("http", "https"):
        raise BadInput(f"{address} is a dashboard's address: give the cluster's, host:6379, or use `ray job submit`")
    if _place(address) is None:
        raise BadInput(
            f"no Ray cluster can be at {address!r}: give host:6379, ray://host:10001, `auto` or `local` in RAY_ADDRESS "
            "or --cluster.address"
        )
    if (why := _silence(address)) is not None:
        raise BadInput(
            f"no Ray cluster answers at {address} ({why}): correct RAY_ADDRESS or --cluster.address, or unset it"
        )


def answers(address: str) -> bool:
    """Whether Ray answers at an address of a cluster."""
    return _place(address) is not None and _silence(address) is None


def _place(address: str) -> tuple[str, int] | None:
    found = _FORM.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 2**16:
        return None
    return found["host"].strip("[]"), int(found["port"])


def _silence(address: str) -> str | None:
    """Why nothing can be joined at an address; None where Ray answers."""
    place = _place(address)
    assert place is not None
    try:
        with socket.create_connection(place, timeout=TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None  # Ray itself knows the certificates.
            connection.settimeout(TIMEOUT_S)
            connection.sendall(_HELLO)
            frame = connection.recv(_FRAME_HEADER)
    except TimeoutError:
        return f"nothing came back within {TIMEOUT_S:g} s"
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or type(error).__name__
    if len(frame) < 4 or frame[3] != _SETTINGS:
        return "what listens there is no Ray"
    return None
