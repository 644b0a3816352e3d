"""Names of images, whatever their case and however deep; and the reasons why others are none."""

import pytest
from PIL import Image

from pipeline.filesystem import HIDDEN
from pipeline.images.codec import FORMATS
from pipeline.images.image_names import EXTENSIONS, IN_JUNK, NO_ENDING, ODD_ENDING, why_no_image


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.jpg", None),
        ("./a/b.JPEG", None),
        ("a/../b.jfif", None),
        ("a.b.avif", None),
        ("a b'é.TIFF", None),
        ("a/b.TXT", "ending in .txt"),
        ("000.json", "ending in .json"),
        ("n01440764.tar", "ending in .tar"),
        ("a.jpg/c", NO_ENDING),
        ("jpg", NO_ENDING),
        ("photo.", ODD_ENDING),
        ("photo.2024-01-01 (1)", ODD_ENDING),
        ("photo.jpg ", ODD_ENDING),
        ("a/._b.jpg", HIDDEN),
        (".git/b.jpg", HIDDEN),
        (".jpg", HIDDEN),
        ("__MACOSX/cat/._b.jpg", IN_JUNK),
        ("cat/@eaDir/b.jpg/SYNOPHOTO_THUMB.jpg", IN_JUNK),
        ("__MACOSX", NO_ENDING),
    ],
)
def test_a_name_is_an_images_or_why_it_is_none(name: str, why: str | None) -> None:
    assert why_no_image(name) == why


def test_the_endings_are_those_of_the_formats_that_are_decoded() -> None:
    Image.init()
    assert {ending for ending, kind in Image.registered_extensions().items() if kind in (*FORMATS, "MPO")} == EXTENSIONS
