"""URLs and texts without their secrets, for all that is shown, logged or stored.

Whatever may be a secret is hidden, also where a URL is malformed and can be read in two ways; a URL that holds none
comes back byte for byte. Nothing here raises.
"""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote

from pipeline.secret_names import SIGNATURES, hides_token, is_companion, is_secret

HIDDEN = "***"
_WEB = {"http", "https", "ws", "wss", "ftp", "ftps"}
_DATABASES = {"postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "mongodb", "redis", "rediss", "amqp"}
_PATHS = {"file", "local", "sqlite", "memory"}  # With three slashes, what follows is a path.
_NAMED_USERS = _DATABASES | {"ssh", "sftp", "ftp", "hdfs", "abfs", "abfss", "wasb", "wasbs", "github", "hf", "svn"}
"""Where a user without a password is a name or a container; elsewhere it may be a token."""

_START = re.compile(
    r"(?::|(?P<code>%(?:25)*3A))(?:[/\\]|%(?:25)*2F){2,}"  # As in https://, also percent-encoded.
    r"|(?<![^\W_])(?:https?|ftps?|s3|postgresql|mysql):[/\\]?(?=[^\s/\\])"  # With a slash too few.
    r"|(?:^|(?<=[\s\"'(<=]))[/\\]{2,}",  # Without a protocol.
    re.IGNORECASE,
)
_LEADING = re.compile(r"[a-z0-9+.\-]*\Z", re.IGNORECASE)
_BEFORE_URL = re.compile(r"(?:[\"'(\[<,;|=\s]+|::)\Z")
_END_OF_AUTHORITY, _END_OF_PATH = re.compile(r"[/\\?#]"), re.compile(r"[?#]")
_LINE, _SPACE, _SPACE_OR_AND, _AND = (re.compile(stop) for stop in (r"[\r\n]", r"\s", r"[\s&]", "&"))
_HOST = r"(?:\[[^\[\]]*\]|[^:\[\]@,]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_LARGEST_PORT = 99_999  # That no such port exists is for others to say: it is a number, and no password.
_PLACEHOLDER = re.compile(r"[<{\[]?port[>}\]]?", re.IGNORECASE)
_CLOSERS = "\"'`)}>,.;:!"
_PARAMETER = re.compile(r"[?&;#](?P<name>[^=&;?#\s\"'<>]{1,200})=")
_VALUE = re.compile(r"(?:(?![;#][^=&;?#\s]{1,200}=[^=&;#\s])[^&])*")
_VALUE_IN_TEXT = re.compile(
    r"(?:(?![;#][^=&;?#\s]{1,200}=[^=&;#\s\"'`)\]}>]|\"[,:\]}]|[\"'`)\]}>,.;:!]+(?:\s|\Z))[^&\s])*",
)
_PLAIN_VALUE = re.compile(r"[^&;#]{0,4096}")
_PLAIN_VALUE_IN_TEXT = re.compile(r"[^&;#\s]{0,4096}")
_REDACTED = re.compile(r"(?::|//|%2F)\*\*\*@|[?&;#][^=&;?#\s]+=\*\*\*(?:[&;#]|\Z)")
_BARE = re.compile(
    r"(?<![\w?&;#%.\-])(?:(?P<name>(?:\w+_)?(?:password|passwd|pwd|passphrase|secret|api_?key|access_?token"
    r"|secret_access_key|security_token|session_token)|AccountKey|SharedAccessKey|SharedAccessSignature"
    r"|X-(?:Amz|Goog)-[\w\-]+|AWSAccessKeyId)=|(?P<scheme>Authorization['\"]?\s*[:=]\s*['\"]?(?:Bearer|Basic|Token)\s+))"
    r"(?P<value>'[^'\s]*'|\"[^\"\s]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)
# So that a hostile text takes time in proportion to its length.
_MOST_NESTED, _MOST_FOLLOWING, _LONGEST = 5, 16, 8192


def redacted(url: str) -> str:
    """The URL with `***` for its password, for a token in the place of a user, and for secret query parameters.

    A password ends at the last `@`, since people write `@`, `/`, `:` and `#` in passwords as they are. Fragments,
    chained URLs, URLs in parameters and percent-encoded names are looked through as well. A URL without secrets is
    returned as it is; to redact twice changes nothing more.
    """
    return _redacted(url, is_text=False, depth=0)


def redact_text(text: str) -> str:
    """The text with every URL in it `redacted`, and with `***` for values such as in `password=…`.

    A URL in a text ends at a space: `redacted` is for URLs that may hold some.
    """
    return _BARE.sub(_without_value, _redacted(text, is_text=True, depth=0))


def is_redacted(url: str) -> bool:
    """Whether a secret was taken out of the URL, so that it leads nowhere any more."""
    return _REDACTED.search(url) is not None


def redacted_values(value: Any, hide: Callable[[str], str] = redacted) -> Any:
    """JSON values with every string in them redacted, as a URL or by `redact_text`; the names in objects stay."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {name: redacted_values(each, hide) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(each, hide) for each in value]
    return value


def _redacted(text: str, *, is_text: bool, depth: int) -> str:
    if depth > _MOST_NESTED:
        return HIDDEN
    return _without_values(_without_userinfo(text, is_text=is_text, depth=depth), is_text=is_text, depth=depth)


def _without_value(found: re.Match[str]) -> str:
    value = found["value"]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{found['name']}={quote}{HIDDEN}{quote}" if found["name"] else f"{found['scheme']}{HIDDEN}"


class _Userinfo(NamedTuple):
    """How many characters after `scheme://` are replaced, and by what."""

    length: int
    shown: str


def _without_userinfo(text: str, *, is_text: bool, depth: int) -> str:
    parts, done = [], 0
    while (start := _START.search(text, done)) is not None:
        begin = start.end()
        parts.append(text[done:begin])
        done = begin
        leading = _LEADING.search(text[max(0, start.start() - 40) : start.start()])
        scheme = (leading[0] if leading else "").lower() or start[0].partition(":")[0].lower()
        slashes = begin - start.start() - 1
        if start["code"]:
            done = _end_of(_SPACE_OR_AND if is_text else _AND, text, begin)
            parts.append(HIDDEN if _hides(f"{scheme}://{text[begin:done]}", depth) else text[begin:done])
        elif not (scheme in _PATHS and slashes > 2):
            found = _userinfo(scheme.partition("+")[0], _region(text, begin, is_text=is_text), is_text=is_text)
            if found is not None:
                parts.append(found.shown)
                done = begin + found.length
    return "".join([*parts, text[done:]])


def _region(text: str, begin: int, *, is_text: bool) -> str:
    """What belongs to the URL whose authority begins here: up to the next URL, or up to a space.

    Where that ends in the middle of what can only be a password, it goes on: to the space, to the end of the line.
    """
    limit = min(len(text), begin + _LONGEST)
    line = _end_of(_LINE, text, begin, limit) if is_text else limit
    end = _end_of(_SPACE, text, begin, limit) if is_text else limit
    for each in (_end_before_next(text, begin, end), end, line):
        if not _is_torn(text[begin:each], is_text=is_text):
            return text[begin:each]
    return text[begin:end]


def _end_before_next(text: str, begin: int, end: int) -> int:
    """Where the URL ends that another one follows after a comma, a quote or `::`."""
    for following in islice(_START.finditer(text, begin, end), _MOST_FOLLOWING):
        leading = _LEADING.search(text[max(begin, following.start() - 40) : following.start()])
        first = following.start() - len(leading[0] if leading else "")
        before = _BEFORE_URL.search(text[max(begin, first - 3) : first])
        if before is not None and first > begin:
            return first - len(before[0])
    return end


def _is_torn(rest: str, *, is_text: bool) -> bool:
    authority = rest[: _end_of(_END_OF_AUTHORITY, rest, 0)]
    return "@" not in rest and not _names_hosts(authority, is_text=is_text)


def _userinfo(scheme: str, rest: str, *, is_text: bool) -> _Userinfo | None:
    """The user and password that the rest of a URL begins with; None if there are none to hide."""
    authority = rest[: _end_of(_END_OF_AUTHORITY, rest, 0)]
    at = authority.rfind("@")
    last = rest.rfind("@")
    has_hosts = _names_hosts(authority[at + 1 :], is_text=is_text)
    if _has_colon(authority[:at] if at >= 0 else ""):
        return _with_password(scheme, rest, last)
    if last > at and not has_hosts:
        return _with_password(scheme, rest, last)
    if at < 0 and last >= 0 and ":" in authority and not authority.startswith("["):
        path = rest[: _end_of(_END_OF_PATH, rest, 0)]
        if rest[len(authority)] == "#" or (scheme in _DATABASES and "@" in path):
            return _with_password(scheme, rest, last)
    if at >= 0:
        return _with_password(scheme, rest, at)
    if "%40" in authority:
        coded = authority.rfind("%40")
        return _Userinfo(coded, HIDDEN) if authority[:coded] != HIDDEN else None
    return None if has_hosts else _without_port(authority)


def _with_password(scheme: str, rest: str, at: int) -> _Userinfo | None:
    user, colon, password = rest[:at].partition(":")
    if hides_token(user) and scheme not in ("abfs", "abfss", "wasb", "wasbs"):
        return _Userinfo(at, HIDDEN)
    if not colon:
        return None if scheme in _NAMED_USERS and "%3a" not in user.lower() else _Userinfo(at, HIDDEN)
    if scheme in _WEB and password in ("", "x-oauth-basic"):
        return _Userinfo(at, HIDDEN)
    return _Userinfo(at, f"{user}:{HIDDEN}") if password else None


def _without_port(authority: str) -> _Userinfo | None:
    """A port that is none is a password whose host is missing."""
    host, _, port = authority.partition(":")
    if authority.startswith("[") or not port or _PLACEHOLDER.match(port):
        return None
    return _Userinfo(len(authority), f"{host}:{HIDDEN}")


def _names_hosts(authority: str, *, is_text: bool) -> bool:
    """Whether this can be hosts with ports, and so need not be a password."""
    if is_text:
        authority = re.split(r"[\"'<>`|)}]", authority.rstrip(_CLOSERS), maxsplit=1)[0]
    if authority.startswith("[") and "]" not in authority:
        return "@" not in authority  # An address of IPv6 that is cut off.
    ports = re.findall(r":(\d+)(?:,|\Z)", authority)
    return _HOSTS.fullmatch(authority) is not None and all(0 < int(port[:6]) <= _LARGEST_PORT for port in ports)


def _has_colon(userinfo: str) -> bool:
    return ":" in userinfo or "%3a" in userinfo.lower()


def _without_values(text: str, *, is_text: bool, depth: int) -> str:
    names = {unquote(found["name"]).lower() for found in _PARAMETER.finditer(text)}
    is_signed = bool(names & SIGNATURES)
    parts, done = [], 0
    while (found := _PARAMETER.search(text, done)) is not None:
        parts.append(text[done : found.end()])
        done = found.end()
        name = _decoded(found["name"])
        if is_secret(name) or (is_signed and is_companion(name)):
            value = (_VALUE_IN_TEXT if is_text else _VALUE).match(text, done)
            is_hidden = True
        else:
            value = (_PLAIN_VALUE_IN_TEXT if is_text else _PLAIN_VALUE).match(text, done)
            if value is None or "%" not in value[0]:
                continue  # What it may hold is found like any other.
            is_hidden = _hides(value[0], depth)
        if value is not None and value[0]:
            parts.append(HIDDEN if is_hidden else value[0])
            done = value.end()
    return "".join([*parts, text[done:]])


def _hides(coded: str, depth: int) -> bool:
    """Whether a percent-encoded text holds a secret."""
    plain = unquote(coded)
    return plain != coded and _redacted(plain, is_text=False, depth=depth + 1) != plain


def _decoded(name: str) -> str:
    for _ in range(_MOST_NESTED):
        name, before = unquote(name), name
        if name == before:
            break
    return name


def _end_of(stop: re.Pattern[str], text: str, begin: int, limit: int | None = None) -> int:
    limit = len(text) if limit is None else limit
    found = stop.search(text, begin, limit)
    return limit if found is None else found.start()
