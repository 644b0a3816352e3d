import subprocess
import sys

import pytest

from bar_model.bit_budget import PUBLISHED_POINTS, Continuous, Discrete, bits_per_image
from bar_model.errors import BadInput


def test_budgets_of_the_paper() -> None:
    assert bits_per_image(Discrete(downsampling=16, codebook_size=2**16), 256) == 4096
    assert bits_per_image(Discrete(downsampling=16, codebook_size=2**10), 512) == 10_240
    assert [bits_per_image(point.tokenizer, 256) for point in PUBLISHED_POINTS] == [65_536, 65_536, 8_192]


@pytest.mark.parametrize(("size", "bits"), [(2, 1), (3, 2), (1000, 10), (1024, 10), (1025, 11), (2**64, 64)])
def test_a_codebook_that_is_no_power_of_two_takes_the_next(size: int, bits: int) -> None:
    assert Discrete(downsampling=16, codebook_size=size).bits_per_token == bits


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(BadInput, match="250 px"):
        bits_per_image(Continuous(downsampling=16, channels=4), 250)
    with pytest.raises(BadInput, match="codebook of 1"):
        Discrete(downsampling=16, codebook_size=1)


def test_command() -> None:
    command = [sys.executable, "-m", "bar_model.bit_budget"]
    done = subprocess.run([*command, "256", "--bits", "16"], capture_output=True, text=True, check=True)
    assert "this one" in done.stdout
    assert "4,096" in done.stdout
    assert "65,536" in done.stdout
    wrong = subprocess.run([*command, "250", "--bits", "16"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (2, "error: an image of 250 px does not divide into tokens of 16 px\n")
