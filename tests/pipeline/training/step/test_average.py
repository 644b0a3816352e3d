"""The moving average of the weights follows the published rule."""

import pytest
import torch
from torch import nn

from pipeline.training.step.average import Average


def test_the_average_follows_the_weights_faster_at_first() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, 0.9)
    expected = 0.0
    for update in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(update)
        average.update(model, update, torch.tensor(True))
        decay = 0.0 if update == 1 else min(0.9, update / (update + 9))
        expected = decay * expected + (1 - decay) * update
    assert average.model.get_parameter("weight").item() == pytest.approx(expected, rel=1e-5)
