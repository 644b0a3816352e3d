import pytest
import torch
from torch import nn

from bar_model.generator.bar import Bar
from bar_model.layers import SwiGLU
from tests.harness.tiny import tiny_config


def test_dropout_acts_in_two_places_and_only_in_training() -> None:
    bar = Bar(tiny_config(dropout=0.5))
    places = {
        name.rpartition(".")[0].rpartition(".")[2] for name, part in bar.named_modules() if isinstance(part, nn.Dropout)
    }
    assert places == {"attention", "feed_forward"}
    feed_forward = SwiGLU(8, dropout=1.0)
    x = torch.randn(2, 8)
    # Between the product and the last linear: with everything dropped, that linear's bias is left.
    torch.testing.assert_close(feed_forward(x), feed_forward.out.bias.expand(2, 8))
    assert not torch.allclose(feed_forward.eval()(x), feed_forward.out.bias.expand(2, 8))


def test_initialisation() -> None:
    bar = Bar(tiny_config(grid=8))
    for name, parameter in bar.named_parameters():
        if "modulation" in name or name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif not name.endswith("frequencies"):
            assert parameter.abs().max() <= 2.0
            if parameter.numel() > 1000:
                assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
    frequencies = bar.get_parameter("head.ratio_embedding.frequencies")
    assert not frequencies.requires_grad
    assert frequencies.std().item() == pytest.approx(1.0, abs=0.15)
