"""What the URLs of a list may reach."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.urls.policy import Target, UrlPolicy, is_public, locate
from pipeline.storage import Folder

BUCKET = Folder("s3://bucket/set")
LOCAL, PRIVATE = "--allow-local", "--allow-private"
ALLOWED = {LOCAL: UrlPolicy(allow_local=True), PRIVATE: UrlPolicy(allow_private=True)}


def refusal(url: str, folder: Folder, policy: UrlPolicy | None = None) -> BadImage:
    with pytest.raises(BadImage) as error:
        locate(url, folder, policy or UrlPolicy())
    return error.value


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://host/a.png", "https://host/a.png"),
        ("HTTP://Host.Example/A.png", "http://host.example/A.png"),
        ("http://host:8080/a%20b%2F//c.png?x=%7E&y=1#z", "http://host:8080/a%20b%2F//c.png?x=%7E&y=1"),
        ("http://host/a b[1]*é.png?q=é x", "http://host/a%20b[1]*%C3%A9.png?q=%C3%A9%20x"),
        ("http://host/%zz?a?b", "http://host/%zz?a?b"),
        ("http://host/?sig=a%2Bb%3D&t=a+b", "http://host/?sig=a%2Bb%3D&t=a+b"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
        ("http://host?x=1", "http://host/?x=1"),
        ("http://host/a::b.png", "http://host/a::b.png"),
    ],
)
def test_web_urls_are_sent_as_they_are_written(url: str, sent: str) -> None:
    assert locate(url, BUCKET, UrlPolicy()) == Target("web", sent)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://[::1",
            "http://host:99999/",
            "http://host:0/",
            "http://host:x/",
            "http:///a.png",
            "http://",
            "http://a b/",
        ),
        *("http://[fe80::1%/", "http://host/a\nb.png", "http://host/a\tb", "http://ho\x7fst/", "http://\ud800/"),
        *("htp://host/a.png", "memory://a", "reference://a", "github://org:repo@/a", "ftp://host/a", "dask://worker"),
        *("data:image/png;base64,AAAA", "http:/host/a", "HTTPS:host/a", "file:a", "javascript://%0aalert(1)"),
        *("simplecache::file:///etc/passwd", "zip://a.png::http://host/a.zip", "filecache::s3://bucket/set/a"),
        *("zip://a.png::/etc/a.zip", "blockcache::https://host/a", "s3://bucket/set/../a", "../a.png", "a/../../b"),
        *("a\0.png", "http://host/\0", "s3://bucket/set/\0", f"{'x' * 9000}://a"),
    ],
)
def test_what_is_malformed_or_of_another_kind_is_never_opened(url: str, tmp_path: Path) -> None:
    for folder in (BUCKET, Folder(str(tmp_path))):
        for policy in (UrlPolicy(), UrlPolicy(allow_local=True, allow_private=True, allow_proxies=True)):
            error = refusal(url, folder, policy)
            assert not isinstance(error, UnreachableImage)
            assert "--allow" not in str(error)
            assert len(str(error)) < 150


@pytest.mark.parametrize(
    ("url", "option"),
    [
        *((url, LOCAL) for url in ("/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "local:///etc/passwd")),
        *((url, LOCAL) for url in ("//etc/passwd", "file://etc/passwd")),
        *((url, PRIVATE) for url in ("s3://bucket/other/a.png", "s3://bucket/settle/a.png", "s3://other/set/a.png")),
        *(
            (url, PRIVATE)
            for url in ("gs://bucket/set/a.png", "hf://datasets/a/b", "s3a://bucket/set/a.png", "s3://bucket")
        ),
    ],
)
def test_other_places_need_an_option_that_the_reason_names(url: str, option: str) -> None:
    error = refusal(url, BUCKET)
    assert isinstance(error, UnreachableImage)
    assert f"{option} permits it" in str(error)
    other = next(policy for name, policy in ALLOWED.items() if name != option)
    assert option in str(refusal(url, BUCKET, other))
    assert locate(url, BUCKET, ALLOWED[option]).kind == ("disk" if option == LOCAL else "store")


@pytest.mark.parametrize("url", ["a.png", "b//c[1]*?.png", "a#b %20é.png", "s::t.png", "s3://bucket/set/b//c.png"])
def test_the_lists_own_store_is_open_to_it(url: str) -> None:
    assert locate(url, BUCKET, UrlPolicy()) == Target("store", url if "://" in url else f"s3://bucket/set/{url}")


def test_the_lists_own_folder_is_open_to_it_but_not_what_its_links_lead_to(tmp_path: Path) -> None:
    inside, outside = tmp_path / "set", tmp_path / "else"
    for folder in (inside / "deep", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (inside / "far").symlink_to(outside)
    (inside / "far.png").symlink_to(outside / "a.png")
    (inside / "near.png").symlink_to(inside / "deep" / "a.png")
    (inside / "circle").symlink_to(inside / "circle")
    (tmp_path / "door").symlink_to(inside)
    own = Folder(str(tmp_path / "door"))
    for url in (
        "deep/a.png",
        "near.png",
        f"{inside}/deep/a.png",
        f"file://{tmp_path}/door/deep/a.png",
        "no%20[1]?.png",
    ):
        path = Path(locate(url, own, UrlPolicy()).address)
        assert path.is_relative_to(inside)
        assert path.name in ("a.png", "no%20[1]?.png")
    for url in ("far/a.png", "far.png", f"{outside}/a.png", f"{tmp_path}/settle", f"file://{inside}/far.png"):
        assert LOCAL in str(refusal(url, own))
        assert Path(locate(url, own, ALLOWED[LOCAL]).address).name in ("a.png", "settle")
    assert "can't be read" in str(refusal("circle", own))


def test_a_host_is_named_without_its_password() -> None:
    assert locate("https://user:pa%40ss@Host:8443/a", BUCKET, UrlPolicy()).host == "https://host:8443"
    assert Target("store", "s3://bucket/a@b/c").host == "s3://bucket"
    assert Target("disk", "/a").host == ""


PRIVATE_NETWORKS = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
    *("240.0.0.0/4", "168.63.129.16/32", "::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64"),
    *("2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "64:ff9b:1::/48"),
]


def addresses(network: str) -> st.SearchStrategy:
    there = ipaddress.ip_network(network)
    return st.integers(int(there[0]), int(there[-1])).map(type(there[0]))


@given(st.sampled_from(PRIVATE_NETWORKS).flatmap(addresses), st.integers(0, 2**80 - 1))
def test_no_private_address_is_public_in_any_wrapping(address: ipaddress.IPv4Address, rest: int) -> None:
    assert not is_public(str(address))
    if address.version == 4:
        number = int(address)
        wrapped = [number, 0xFFFF << 32 | number, 0x0064FF9B << 96 | number, 0x2002 << 112 | number << 80 | rest]
        assert not any(is_public(str(ipaddress.IPv6Address(each))) for each in wrapped)
    elif str(address).startswith("fe80"):
        assert not is_public(f"{address}%eth0")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.15.0.1", "192.0.1.1", "2606:4700:4700::1111", "2a00::1"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)
    if ":" not in address:
        assert is_public(f"::ffff:{address}")
        assert is_public(f"64:ff9b::{address}")


@given(st.one_of(st.text(), st.text("htps3file:/.@[]%#?0x\\ ", max_size=20).map("http://".__add__)))
def test_any_text_is_either_located_or_bad(url: str) -> None:
    try:
        target = locate(url, BUCKET, UrlPolicy())
    except BadImage:
        return
    assert target.kind == "web" or target.address.startswith("s3://bucket/set/")
