"""A surveyed source lists and reads what the other does, and says once what it saw."""

from pathlib import Path

import pytest

from pipeline.images.class_folders import ImageFolder
from pipeline.images.survey import SurveyedSource
from tests.harness.stored import items, picture


def test_a_listing_says_at_its_end_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        (tmp_path / f"class {number}").mkdir()
        (tmp_path / f"class {number}" / "1.png").write_bytes(picture(number))
    plain = ImageFolder.open(str(tmp_path))
    source = SurveyedSource(plain, "the source")
    assert source.identity == plain.identity
    assert items(source) == items(plain)  # Two listings, of which one speaks.
    assert capsys.readouterr().out == "the source: 7 images of 7 labels (0, 1, 2, 3, 4, …); left out: nothing\n"
    (tmp_path / "class 0" / "notes.txt").touch()
    (tmp_path / "class 0" / "\udcff.png").touch()
    list(source.listing())
    assert capsys.readouterr().out == (
        "the source: 8 images of 7 labels (0, 1, 2, 3, 4, …), 1 of them unusable; "
        "left out: 1 ending in .txt (class 0/notes.txt)\n"
    )


def test_a_source_without_images_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    assert not list(SurveyedSource(ImageFolder.open(str(tmp_path)), "there").listing())
    assert capsys.readouterr().out == "there: 0 images; left out: nothing\n"
