"""Schedules, weight decay and averages against docs/method.md, section 5."""

import json

import pytest
import torch
from torch import nn

from bar_model import presets
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.presets.training import TRAINING
from pipeline.training.step.optimizer import OptimizationConfig, parameter_groups, set_learning_rate
from tests.harness.repository import GOLDEN

UPSTREAM_KEYS = GOLDEN / "upstream_keys.json"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (31_250, 2e-4),
        (62_500, 4e-4),
        (156_250, (4e-4 + 1e-5) / 2),  # Half-way down the cosine.
        (250_000, 1e-5),
    ],
)
def test_the_learning_rate_is_the_published_one(step: int, expected: float) -> None:
    training = TRAINING["bar-b"]()
    assert training.optimization.learning_rate_at(step, training.steps) == pytest.approx(expected, rel=1e-12)


def test_the_tokenizers_schedule_is_the_published_one() -> None:
    training = TOKENIZER_TRAINING["bar-fsq-16"]()
    assert (training.steps, training.batch, training.encoder_learning_rate) == (200_000, 256, 0.1)
    at = training.optimization.learning_rate_at
    assert [at(step, 200_000) for step in (5_000, 10_000, 200_000)] == pytest.approx([5e-5, 1e-4, 1e-5])
    optimization = training.optimization
    assert (optimization.betas, optimization.weight_decay, optimization.average) == ((0.9, 0.999), 0.0, 0.999)


def test_the_published_recipe_spares_a_third_of_all_weights() -> None:
    """By the published names alone, which this project's own don't resemble."""
    shapes = json.loads(UPSTREAM_KEYS.read_text())["bar_b"]
    expected = {True: 0, False: 0}
    for name, shape in shapes.items():
        if ".rope." in name or name == "lm_head.t_embedder.W":  # Constants, of which nothing is learned.
            continue
        lower = name.lower()
        spared = len(shape) < 2 or "bias" in name or any(part in lower for part in ("norm", "ln", "embed"))
        expected[spared] += torch.Size(shape).numel()

    with torch.device("meta"):
        bar = Bar(presets.bar_b())
    groups = parameter_groups(bar, OptimizationConfig(learning_rate=1e-3, weight_decay=0.03))
    found = {group["weight_decay"] == 0: sum(p.numel() for p in group["params"]) for group in groups}
    assert found == expected
    assert 0.3 < found[True] / sum(found.values()) < 0.4


def test_the_usual_rule_decays_every_matrix_but_embeddings() -> None:
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 5), nn.LayerNorm(5))
    config = OptimizationConfig(learning_rate=1e-3, weight_decay=0.1, decayed="matrices")
    decayed = [p for group in parameter_groups(model, config) if group["weight_decay"] for p in group["params"]]
    assert [id(p) for p in decayed] == [id(model[1].weight)]


def test_frozen_parameters_are_left_out_and_factors_apply() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
    model["decoder"].bias.requires_grad_(False)
    config = OptimizationConfig(learning_rate=1.0, weight_decay=0.0)
    groups = parameter_groups(model, config, lambda name: 0.1 if name.startswith("encoder.") else 1.0)
    assert sum(len(group["params"]) for group in groups) == 3
    optimizer = torch.optim.SGD(groups, lr=1.0)
    set_learning_rate(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates == {
        id(model["encoder"].weight): 0.05,
        id(model["encoder"].bias): 0.05,
        id(model["decoder"].weight): 0.5,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1e-3, "warmup": 1.5}, "warmup 1.5"),
        ({"learning_rate": 1e-6}, "final_learning_rate"),
        ({"learning_rate": 1e-3, "average": 1.0}, "average 1.0"),
    ],
)
def test_what_can_not_be_a_schedule_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        OptimizationConfig(**settings)
