"""Keys of URLs: without secrets, the same however a URL is signed, and unique."""

import re
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.source import listing_order
from pipeline.images.urls.keys import KeyedRow, KeyTable, is_hidden, unsigned

PLACE = "https://host/a%20b/1.png"
SIGNED = {
    "Amazon": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK{n}%2F2026&X-Amz-Date=2026{n}&X-Amz-Expires={n}"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t{n}&X-Amz-Signature=s{n}",
    "older Amazon": "AWSAccessKeyId=AK{n}&Signature=s{n}%3D&Expires={n}",
    "Google": "X-Goog-Algorithm=GOOG4&X-Goog-Credential=c{n}&X-Goog-Date={n}&X-Goog-Expires={n}&X-Goog-Signature=s{n}",
    "older Google": "GoogleAccessId=id{n}&Expires={n}&Signature=s{n}",
    "Azure": "sv=2026&st={n}&se={n}&sr=b&sp=r&skoid=o{n}&ske={n}&sig=s{n}%3D",
    "CloudFront": "Expires={n}&Signature=s{n}&Key-Pair-Id=k{n}",
    "CloudFront with a policy": "Policy=p{n}&Signature=s{n}&Key-Pair-Id=k{n}",
    "Alibaba": "OSSAccessKeyId=k{n}&Expires={n}&Signature=s{n}&security-token=t{n}",
    "newer Alibaba": "x-oss-signature-version=v4&x-oss-credential=c{n}&x-oss-date={n}&x-oss-expires={n}"
    "&x-oss-signature=s{n}",
    "Tencent": "q-sign-algorithm=sha1&q-ak=k{n}&q-sign-time={n}&q-key-time={n}&q-header-list=&q-signature=s{n}",
}


def keys(*urls: str) -> list[str]:
    """The keys of a list's URLs, in the order of the list."""
    table = KeyTable(KeyedRow.of(url, place, "") for place, url in enumerate(urls))
    listed = sorted(table.listed(), key=lambda image: image.label)
    table.close()
    return [image.key for image in listed]


@pytest.mark.parametrize("query", SIGNED.values(), ids=SIGNED)
def test_a_url_that_is_signed_again_keeps_its_key(query: str) -> None:
    first, second = (f"{PLACE}?size=large&{query.format(n=n)}" for n in ("1001", "2002"))
    assert unsigned(first) == unsigned(second) == f"{PLACE}?size=large"
    (key,) = keys(first)
    assert keys(second) == [key]
    assert keys(first, second) == [key, key]  # One image, twice.
    assert key.startswith(f"{PLACE}?size=large&")
    assert "1001" not in key
    assert is_hidden(key)


@pytest.mark.parametrize(
    "url",
    [
        *("https://host/a.png", "https://host:81/a.png?x=1&y=%20#z", "s3://bucket/a b[1].png", "https://host/***.png"),
        *("https://host/a?Expired=1&sigma=2&st=3&se=4", "https://host/a?x-oss-process=image%2Fresize"),
    ],
)
def test_a_url_without_secrets_is_its_key(url: str) -> None:
    assert keys(url, "https://user:one@host/b", "https://user:two@host/b")[0] == url
    assert unsigned(url) == url


def test_urls_of_one_key_are_told_apart_by_a_digest_that_no_signing_changes() -> None:
    def urls(n: int) -> list[str]:
        signature = f"&X-Amz-Signature=s{n}"
        return [f"https://host/a?token={token}{signature}" for token in ("one", "two", "one")]

    before, other, again = keys(*urls(1))
    assert before == again != other
    for key in (before, other):
        assert re.fullmatch(r"https://host/a\?token=\*\*\*&X-Amz-Signature=\*\*\*#[0-9a-f]{8}", key)
    assert keys(*urls(2)) == [before, other, again]
    assert keys(*reversed(urls(1))) == [again, other, before]
    literal = "https://host/a?token=***"  # A URL that was redacted before it came here.
    assert keys(literal, "https://host/a?token=one")[0] == literal
    assert len(set(keys(literal, "https://host/a?token=one"))) == 2


def test_the_urls_of_keys_are_found() -> None:
    urls = [
        *("https://user:one@host/a", "https://user:two@host/a", "https://user:one@host/b", "https://host/c"),
        *(f"https://host/d?X-Amz-Signature={n}" for n in range(2)),
    ]
    found = keys(*urls)
    table = KeyTable(KeyedRow.of(url, 0, "") for url in urls)
    assert table.urls([*found[:5], "https://host/none"]) == dict(zip(found[:5], urls, strict=False))
    table.close()


NAMES = st.sampled_from(["token", "x", "sig", "se", "Signature", "Expires", "X-Amz-Date", "X-Amz-Signature", "key"])
VALUES = st.sampled_from(["", "SECRET-1", "SECRET-2", "1", "***"])
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(urlencode)
URLS = st.tuples(st.sampled_from(["https://", "https://me:SECRET-3@", "s3://"]), QUERIES).map(
    lambda p: f"{p[0]}h/a?{p[1]}"
)


@given(st.lists(URLS, max_size=8))
def test_keys_are_unique_but_for_signatures_and_in_order(urls: list[str]) -> None:
    found = keys(*urls)
    by_key = {key: {unsigned(url) for url, its in zip(urls, found, strict=True) if its == key} for key in found}
    for key, places in by_key.items():
        assert len(places) == 1 or not is_hidden(key)
        for name, value in parse_qsl(key.partition("?")[2]):
            assert name in ("x", "se", "Expires", "X-Amz-Date") or "SECRET" not in value
        assert "SECRET-3" not in key
    table = KeyTable(KeyedRow.of(url, 0, "") for url in urls)
    listed = list(table.listed())
    assert listed == sorted(listed, key=listing_order)
    hidden = [key for key in found if is_hidden(key)]
    assert all(unsigned(url) in by_key[key] for key, url in table.urls(hidden).items())
    assert table.urls(hidden).keys() == set(hidden)
    table.close()
