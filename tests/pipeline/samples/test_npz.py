"""Samples as one npz file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.samples.npz import NPZ, NpzConfig, write_samples_npz
from pipeline.samples.sample import SampleConfig
from tests.harness.drawn import drawn, save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling"]


def test_codes_alone_are_decoded_by_their_tokenizer(config: SampleConfig, capsys: pytest.CaptureFixture[str]) -> None:
    save(replace(config, images="none"))
    with pytest.raises(BadInput, match="give the tokenizer"):
        write_samples_npz(NpzConfig(folder=config.out))
    write_samples_npz(NpzConfig(folder=config.out, tokenizer=config.tokenizer))
    assert capsys.readouterr().out == f"{config.out}/{NPZ}: 10 images\n"
    with np.load(Path(config.out, NPZ)) as archive:
        assert archive.files == ["arr_0"]
        np.testing.assert_array_equal(archive["arr_0"], drawn(config).images)
