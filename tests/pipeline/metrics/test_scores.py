"""Inception scores against their definitions and torch-fidelity."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from pipeline.metrics.scores import inception_score, shuffled_inception_score

RNG = np.random.default_rng(0)


def some_logits(num: int) -> np.ndarray:
    """Cyclic classes, each pictured with certainty but for some noise."""
    logits = RNG.normal(size=(num, 10)).astype(np.float32)
    logits[np.arange(num), np.arange(num) % 10] += 6
    return logits


def test_inception_score_equals_its_definition_and_torch_fidelitys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.scores.SPLIT", 40)
    logits = some_logits(110)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    parts = [p[:40], p[40:80], p[80:]]  # The last is shorter, and counts as much.
    scores = [np.exp((part * np.log(part / part.mean(axis=0))).sum(axis=1).mean()) for part in parts]
    assert inception_score(logits) == pytest.approx(np.mean(scores), rel=1e-12)
    whole = isc_features_to_metric(torch.from_numpy(logits[:80]), splits=2, shuffle=False)
    assert inception_score(logits[:80]) == pytest.approx(whole["inception_score_mean"], rel=1e-12)


def test_inception_score_depends_on_the_order_and_the_shuffled_one_hardly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.scores.SPLIT", 100)
    cyclic = some_logits(1000)
    by_class = cyclic[np.argsort(np.arange(1000) % 10, kind="stable")]
    assert inception_score(cyclic) > 7
    assert inception_score(by_class) < 2
    assert shuffled_inception_score(by_class) == pytest.approx(shuffled_inception_score(cyclic), rel=0.05)
