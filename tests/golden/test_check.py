"""The published model's golden outputs, and that the check of them can fail."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.golden import check
from tests.harness.repository import GOLDEN

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", ["tiny", "tiny_patch2"])
def test_the_published_generator(name: str) -> None:
    assert check.check(GOLDEN / f"{name}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bar_b", "bar_fsq_16bits"])
def test_the_published_sizes(name: str) -> None:
    assert check.check(GOLDEN / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("parameter", "place"),
    [("blocks.1.mlp.w3.weight", (3, 5)), ("lm_head.t_embedder.W", (7,)), ("timesteps_embeddings", (0, 9, 2))],
)
def test_one_perturbed_weight_is_seen(
    parameter: str, place: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def perturbed(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        weights = check.fill(name, shape)
        if name == parameter:
            weights[place] += 0.1
        return weights

    assert not check.check(GOLDEN / "tiny.safetensors", perturbed)
    assert "FAILED" in capsys.readouterr().out


def test_a_tensor_that_nothing_checks_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "more.safetensors"
    with safe_open(GOLDEN / "tiny.safetensors", "pt") as golden:
        tensors = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118  (it is no dictionary)
        save_file(tensors | {"surprise": torch.zeros(3)}, file, golden.metadata())
    assert not check.check(file)


def test_the_command_fails_where_a_golden_bit_is_flipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    shutil.copy(GOLDEN / "tiny.safetensors", good)
    with safe_open(good, "pt") as golden:
        tensors = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118  (it is no dictionary)
        tensors["generate.noisy_cfg"][1, 17] ^= 1
        save_file(tensors, bad, golden.metadata())
    assert check.main([str(good)]) == 0
    assert check.main([str(bad)]) == 1
    assert "1 of 512 bits differ  FAILED" in capsys.readouterr().out
