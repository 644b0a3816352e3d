"""A list of URLs as the world makes them becomes codes: through Ray, from a real server that fails in many ways."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bar_model import checkpoint, presets
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.folder import read_codes
from pipeline.codes.tokenize import TokenizeConfig, tokenize
from pipeline.execution.quarantine import read_quarantine
from pipeline.storage import Folder
from tests.harness.web_server import Server

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray", "tests.harness.fixtures_web"]
pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path: Path) -> TokenizeConfig:
    torch.manual_seed(0)
    checkpoint.save(Tokenizer(presets.TOKENIZERS["digits"]()), tmp_path / "tokenizer")
    (tmp_path / "data" / "classes").mkdir(parents=True)
    return TokenizeConfig(
        source=str(tmp_path / "data" / "list.csv"),
        tokenizer=str(tmp_path / "tokenizer"),
        out=str(tmp_path / "codes"),
        views=("crop",),
        batch_size=8,
        workers=1,
        max_bad=0.9,
        allow_private=True,
    )


def write_list(config: TokenizeConfig, urls: list[str]) -> None:
    rows = "".join(f'"{url}",{number % 3}\n' for number, url in enumerate(urls))
    Path(config.source).write_text(f"url,label\n{rows}")


def quarantined(config: TokenizeConfig) -> dict[str, str]:
    folder = Folder(config.out)
    manifest = tokenize(config)
    return {item.key: item.why for items in read_quarantine(folder, manifest).values() for item in items}


def test_six_pictures_among_every_kind_of_bad_row(
    config: TokenizeConfig, ray_here: str, web_server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    web = web_server.url
    login = web.replace("//", "//me:SECRET@")
    good = [*(f"{web}/good/{n}.png" for n in range(4)), f"HTTP{web[4:]}/good/4.png", f" {login}/good/5.png?sig=SECRET"]
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        bad = [
            "http://nowhere.invalid/a.png",
            f"http://127.0.0.1:{dead.getsockname()[1]}/a.png",
            *(f"{web}/{path}" for path in ("status/500", "status/503/4", "close", "reset", "unzipped", "loop", "huge")),
            *("http://[::1/a.png", "http://host:99999/a.png", "htp://host/a.png", "classes", "x" * 300, "a\0.png"),
            *("/etc/hostname", "simplecache::file:///etc/hostname", "../up.png"),
            f"{login}/status/403?X-Amz-Signature=SECRET",
        ]
        write_list(config, [*bad, *good, ""])
        why = quarantined(config)
    codes = read_codes(config.out)
    shown = f"{web.replace('//', '//me:***@')}/good/5.png?sig=***"
    assert sorted(codes.keys) == sorted([*good[:5], shown])
    assert len(why) == len(bad) + 1
    assert set(bad[:-1]) < why.keys()
    assert why["list.csv, row 25"] == "has no URL"
    assert why[f"{web.replace('//', '//me:***@')}/status/403?X-Amz-Signature=***"] == "can't be read (status 403)"

    # The next run asks again for what may have passed, and for that alone.
    asked = web_server.asked.copy()
    assert f"{web}/status/503/4" not in quarantined(replace(config, allow_local=True))
    assert len(read_codes(config.out).keys) == 7
    again = {path for path, times in web_server.asked.items() if times > asked[path]}
    assert again == {"/status/500", "/status/503/4", "/close", "/reset"}
    files = [path.read_bytes() for path in Path(config.out).rglob("*") if path.is_file()]
    assert not any(b"SECRET" in data for data in files)
    assert "SECRET" not in "".join(capfd.readouterr())


def test_a_list_that_fails_everywhere_ends_the_run_with_its_first_url(
    config: TokenizeConfig, ray_here: str, web_server: Server
) -> None:
    login = web_server.url.replace("//", "//me:SECRET@")
    write_list(config, [f"{login}/status/503/99/{number}?token=SECRET" for number in range(8)])
    with pytest.raises(BadInput, match=r"8 of 8 images can't be used.*first: http://me:\*\*\*@.*status 503") as error:
        tokenize(replace(config, max_bad=0.01))
    assert "SECRET" not in str(error.value)
