"""A training that begins with the weights of another one."""

import dataclasses
from pathlib import Path

import pytest
import torch

from bar_model import checkpoint
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from pipeline.training.initial_weights import load_initial, new_classes, start_from
from tests.harness.tiny import make_bar, tiny_config


def test_the_same_model_is_taken_over_whole(tmp_path: Path) -> None:
    checkpoint.save(make_bar(tiny_config()), tmp_path / "model")
    initial, bar = load_initial(str(tmp_path / "model"), tiny_config()), Bar(tiny_config())
    start_from(bar, initial)
    assert checkpoint.fingerprint(bar) == checkpoint.fingerprint(initial)
    assert new_classes(initial, bar.config) == 0


def test_other_classes_are_new_and_the_dropped_one_is_not(tmp_path: Path) -> None:
    checkpoint.save(make_bar(tiny_config()), tmp_path / "model")
    bar = Bar(dataclasses.replace(tiny_config(), num_classes=3))
    initial = load_initial(str(tmp_path / "model"), bar.config)
    assert new_classes(initial, bar.config) == 3
    before = bar.transformer.class_embedding.weight.clone()
    start_from(bar, initial)
    assert isinstance(initial, Bar)
    after = bar.transformer.class_embedding.weight
    assert torch.equal(after[:-1], before[:-1])
    assert torch.equal(after[-1], initial.transformer.class_embedding.weight[-1])
    assert torch.equal(bar.transformer.class_token, initial.transformer.class_token)
    assert torch.equal(bar.head.state_dict()["out.weight"], initial.head.state_dict()["out.weight"])


def test_a_model_of_another_shape_is_named(tmp_path: Path) -> None:
    checkpoint.save(make_bar(tiny_config()), tmp_path / "model")
    with pytest.raises(BadInput, match=r"init: .*model has head\.\S+ of shape .*but this model has"):
        load_initial(str(tmp_path / "model"), tiny_config(bits=5, allocation=(5,)))
