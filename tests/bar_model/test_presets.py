import pytest
import torch

from bar_model.generator.bar import Bar
from bar_model.presets import GENERATORS


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("bar-b", 415_322_158),
        ("bar-b-patch2", 415_076_098),
        ("bar-b-patch4", 415_752_223),
        ("bar-s", 28_084_400),
        ("bar-l", 1_107_798_990),
        ("bar-l-512", 1_110_727_993),
    ],
)
def test_parameter_counts(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        bar = Bar(GENERATORS[preset]())
    assert sum(parameter.numel() for parameter in bar.parameters()) == parameters
