"""No secret of a URL is left in what is shown, and what holds none stays as it is."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.redaction import is_redacted, redact_text, redacted

SHOWN = {
    "https://u:p@h/x": "https://u:***@h/x",
    "https://u:p@h/x?email=1": "https://u:***@h/x?email=1",
    "https://tok@h/x": "https://***@h/x",
    "https://TOKEN:@api/x": "https://***@api/x",
    "https://TOKEN:x-oauth-basic@api/x": "https://***@api/x",
    "https://ghp_0123456789abcdef:x@github.com/a": "https://***@github.com/a",
    "s3://AKIAIOSFODNN7EXAMPLE:s/ec+ret@bucket/x": "s3://***@bucket/x",
    "postgresql://u:p@h/db": "postgresql://u:***@h/db",
    "mysql+pymysql://u:p/a#b@c:d@h:3306/db": "mysql+pymysql://u:***@h:3306/db",
    "postgresql://u:12/34@h/db": "postgresql://u:***@h/db",
    "postgresql://h/db?user=u&password=p": "postgresql://h/db?user=u&password=***",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Du%3BPWD%3Dp": "mssql+pyodbc:///?odbc_connect=***",
    "redis://:pw@h/0": "redis://:***@h/0",
    "simplecache::https://u:p@h/x": "simplecache::https://u:***@h/x",
    "zip://x.jpg::https://u:p@host/a.zip": "zip://x.jpg::https://u:***@host/a.zip",
    "https://me@corp.com:pa/ss@host/x": "https://me@corp.com:***@host/x",
    "http://u:p@h:99999/x": "http://u:***@h:99999/x",
    "http://u:p@[::1/x": "http://u:***@[::1/x",
    "https:/u:p@h/x": "https:/u:***@h/x",
    "//u:p@h/x": "//u:***@h/x",
    "https:///u:p@h/x": "https:///u:***@h/x",
    "https://u:p w@h/x": "https://u:***@h/x",
    "https://user:secret": "https://user:***",
    "https://u%3Apw@h/x": "https://***@h/x",
    "https://p/fetch?url=https%3A%2F%2Fu%3Ap%40h%2Fx&w=1": "https://p/fetch?url=https%3A%2F%2F***&w=1",
    "https://p/fetch?url=https://u:p@h/x": "https://p/fetch?url=https://u:***@h/x",
    "https://h/a?to=https%253A%252F%252Fh%253Ftoken%253Dabc": "https://h/a?to=***",
    "https://h/a?X-Amz-Signature=abc&X-Amz-Date=1&w=5": "https://h/a?X-Amz-Signature=***&X-Amz-Date=***&w=5",
    "https://h/a?x%2Dgoog%2dsignature=abc": "https://h/a?x%2Dgoog%2dsignature=***",
    "https://h/a?AWSAccessKeyId=A&Signature=b%2B&Expires=1": "https://h/a?AWSAccessKeyId=***&Signature=***&Expires=***",
    "https://h/a?Policy=e__&Key-Pair-Id=K&w=2": "https://h/a?Policy=***&Key-Pair-Id=***&w=2",
    "https://h/a?OSSAccessKeyId=A&Signature=b": "https://h/a?OSSAccessKeyId=***&Signature=***",
    "https://h/a?x-oss-signature=b&x-oss-process=image/resize": "https://h/a?x-oss-signature=***&x-oss-process=image/resize",
    "https://h/a?sv=1&se=2&sig=ab%2Fc%3D&w=1": "https://h/a?sv=***&se=***&sig=***&w=1",
    "https://h/a?w=5;%74oken=abc;h=7#access_token=xyz&b=1": "https://h/a?w=5;%74oken=***;h=7#access_token=***&b=1",
    "https://h/a;jsessionid=1F?w=1": "https://h/a;jsessionid=***",
    "a.jpg?api_key=abc&w=1": "a.jpg?api_key=***&w=1",
}
UNTOUCHED = (
    "",
    "x.jpg",
    "a:b@c.jpg",
    "/a/b@c:d.jpg",
    "https://h/x.jpg",
    "https://h/a@b?email=a@b.c",
    "https://h:80/a?email=a@b.c",
    "https://cdn.x.com:8080/icon@2x.png",
    "https://h/%E4%B8%AD?q=a+b%20c",
    "https://h/a?st=1&se=2",
    "https://h/a?token=&x=1",
    "https://h/monkey?keyword=1&monkey=2&author=3&design=4&x-oss-process=image/resize",
    "http://[::1/x@y",
    "http://[::1]:80/x@y",
    "http://h:99999/x",
    "http://host:port/x",
    "postgresql://u@h/db",
    "postgresql+psycopg2://h1:5432,h2:5433/db",
    "file:///a:b@c/d",
    "sqlite:////a/b@c.db",
    "abfs://container@account.dfs.core.windows.net/x",
    "hf://datasets/u/r@main/x.parquet",
    "s3://bucket/key=1/a@b.jpg",
    "zip://x.jpg::https://host/a@b.zip",
    "simplecache::s3://bucket/x",
    "databricks://profile",
)
TEXTS = {
    "tracking.uri 'postgresql://u:p@h/db' can't be opened": "tracking.uri 'postgresql://u:***@h/db' can't be opened",
    "('https://u:p@h/x', 'https://v:q@i/y')": "('https://u:***@h/x', 'https://v:***@i/y')",
    "<https://h/x?sig=abc>, and": "<https://h/x?sig=***>, and",
    "(https://h/x?token=a).": "(https://h/x?token=***).",
    '{"a":"https://h/?token=x","b":1}': '{"a":"https://h/?token=***","b":1}',
    "'https://u:my pass@h/x' x": "'https://u:***@h/x' x",
    "at postgresql://u:it's@h/db": "at postgresql://u:***@h/db",
    "connect host=h password=geheim user=u": "connect host=h password=*** user=u",
    "Authorization: Bearer abc": "Authorization: Bearer ***",
}
PLAIN_TEXTS = (
    '["https://host","https://host2/a@b"]',
    "http://host:5000: refused",
    '<a href="http://h:80">x</a> a@b',
    "begin it with http://host:5000, or write to x@y",
    "images: a key=class/3.jpg is there twice",
    "https://h/a, https://h/b@c and //comment",
)


@pytest.mark.parametrize("url", SHOWN)
def test_secrets_of_a_url_are_hidden(url: str) -> None:
    assert redacted(url) == SHOWN[url]
    assert redacted(SHOWN[url]) == SHOWN[url]


@pytest.mark.parametrize("url", SHOWN)
def test_a_redacted_url_is_known_as_such(url: str) -> None:
    assert not is_redacted(url)
    assert is_redacted(SHOWN[url]) or SHOWN[url].endswith(("%2F***&w=1", "://user:***", "%40h/x", "to=***"))


@pytest.mark.parametrize("url", UNTOUCHED)
def test_a_url_without_secrets_stays(url: str) -> None:
    assert redacted(url) == url
    assert redact_text(url) == url


@pytest.mark.parametrize("text", [*TEXTS, *PLAIN_TEXTS])
def test_secrets_in_a_text_are_hidden(text: str) -> None:
    shown = TEXTS.get(text, text)
    assert redact_text(text) == shown
    assert redact_text(shown) == shown


# A secret is made of marks, which are found where a part of it is left, and of what people have in passwords.
MARKS = st.lists(st.text("@:/#?&;=%+$!'\"[]{}()<>,.~ ", max_size=3), min_size=1, max_size=4).map(
    lambda between: "zQx" + "".join(f"{each}zQx" for each in between)
)
SCHEMES = st.sampled_from(
    ["https", "http", "HTTPS", "postgresql", "mysql+pymysql", "s3", "ftp", "redis", "simplecache::https", "x-y.z+1"]
)
HOSTS = st.sampled_from(["h", "h.example.com:443", "[::1]:80", "[::1", "h:99999", "h:x", "", "h@i"])
PATHS = st.sampled_from(["", "/", "/db", "/a@b/c.jpg?w=1", "/a?to=https://i/b", "/a#b", "?x=1&y=a@b", "/ü%20x"])
AROUND = st.sampled_from(["", "'{}'", '"{}"', "({})", "<{}>", "at {}: refused", "[{}, 'https://i/x']", "a\n{}\nb"])


@given(SCHEMES, MARKS, HOSTS, PATHS, AROUND)
@settings(max_examples=600, deadline=None)
@example("https", "zQx/:@zQx", "h", "/", "")
def test_a_password_never_survives(scheme: str, secret: str, host: str, path: str, around: str) -> None:
    url = f"{scheme}://user:{secret}@{host}{path}"
    shown = redacted(url)
    assert "zQx" not in shown
    assert redacted(shown) == shown
    text = (around or "{}").replace("{}", url.replace(" ", ""))
    shown = redact_text(text)
    assert "zQx" not in shown
    assert redact_text(shown) == shown


SECRET_NAMES = """
X-Amz-Signature x-amz-security-token X-Goog-Credential AWSAccessKeyId Signature sig SIG token access_token
auth_token key api_key apikey apiKey secret client_secret password pwd auth signature credential session
sessionToken Key-Pair-Id Policy OSSAccessKeyId %74oken X%2DAmz%2DSignature sslpassword auth%5Btoken%5D token2
"""
NAMES = st.sampled_from(SECRET_NAMES.split())
VALUES = st.builds(
    "zQx{}{}".format,
    st.lists(st.text("@:/#?%+$!'[]{}().~", max_size=3), max_size=3).map(
        lambda each: "".join(f"{mid}zQx" for mid in each)
    ),
    st.sampled_from(["", "=", "=="]),
)
BEFORE = st.sampled_from(
    ["https://h/x?", "https://h/x?w=1&", "https://h/x?w=1;", "https://h/x#", "x.jpg?", "/a/b;", "s3://b/k?"]
)
AFTER = st.sampled_from(["", "&w=1", ";w=1", "#w=1", "&token=zQx"])


@given(BEFORE, NAMES, VALUES, AFTER)
@settings(max_examples=600, deadline=None)
def test_a_secret_parameter_never_survives(before: str, name: str, value: str, after: str) -> None:
    for url in (f"{before}{name}={value}{after}", f"https://h/x?to=https%3A%2F%2Fh%2F%3F{name}%3D{value}"):
        shown = redacted(url)
        assert "zQx" not in shown
        assert redacted(shown) == shown
        assert "zQx" not in redact_text(f"can't read '{url}' now")


WORDS = st.text("abcdefghijklmnop0123456789._~-", min_size=1, max_size=12).map(lambda word: f"w{word}")
PLAIN = st.builds(
    "{}://{}{}/{}{}".format,
    st.sampled_from(["https", "s3", "gs", "hf", "postgresql", "sqlite", "x::https"]),
    WORDS,
    st.one_of(st.just(""), st.integers(80, 65535).map(lambda port: f":{port}")),
    st.lists(st.one_of(WORDS, st.sampled_from(["a%20b", "x+y", "ü", "%", "a=b"])), max_size=4).map("/".join),
    st.lists(st.tuples(st.sampled_from(["w", "size", "page", "q", "author"]), WORDS), max_size=3).map(
        lambda pairs: "?" + "&".join(f"{name}={value}" for name, value in pairs) if pairs else ""
    ),
)


@given(PLAIN)
@settings(max_examples=500, deadline=None)
def test_any_url_without_secrets_stays(url: str) -> None:
    assert redacted(url) == url
    assert redact_text(f"at '{url}': x") == f"at '{url}': x"


@given(st.one_of(st.text(max_size=200), st.text(":/@?&;#=%[]'\" \nhtpsx0123", max_size=200)))
@settings(max_examples=600, deadline=None)
def test_any_text_is_taken_and_a_second_time_changes_nothing(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)
    assert redact_text(redact_text(text)) == redact_text(text)


PIECES = ("a", "@", "://", "https://", "https://a:b,", "?a=", ";token=x", ":", "%3A%2F%2F", "https://u:p@h ")


@pytest.mark.parametrize("piece", PIECES)
def test_long_texts_are_passed_once(piece: str) -> None:
    """A search that begins again at every character would take hours."""
    assert redact_text(piece * (20_000 // len(piece)))
