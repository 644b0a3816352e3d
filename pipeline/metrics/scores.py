"""Inception scores, in float64."""

import numpy as np
import torch
from jaxtyping import Float

from bar_model.errors import BadInput

SPLIT = 5000
"""Images in each part of the Inception score, by the rule of the published evaluation."""
SHUFFLED_PARTS = 10
"""Parts of the shuffled Inception score, as in torch-fidelity."""


def inception_score(logits: Float[np.ndarray, "num classes"]) -> float:
    """The Inception score by the published evaluation: the mean of exp(mean KL(p(y|x) ‖ p(y))) over parts of 5,000.

    The parts are taken in the order given; the last may be shorter. Sorted by class, the same images score far less.
    """
    from scipy.special import log_softmax

    scores = []
    for start in range(0, len(logits), SPLIT):
        log_p = log_softmax(logits[start : start + SPLIT].astype(np.float64), axis=1)
        p = np.exp(log_p)
        scores.append(np.exp((p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1).mean()))
    return float(np.mean(scores))


def shuffled_inception_score(logits: Float[np.ndarray, "num classes"]) -> float:
    """The Inception score by torch-fidelity's rule: ten parts of the images in an order drawn with seed 2020.

    Raises:
        BadInput: there are fewer than ten images.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    if len(logits) < SHUFFLED_PARTS:
        raise BadInput(f"{len(logits)} pictures: the shuffled Inception score takes {SHUFFLED_PARTS} parts")
    return isc_features_to_metric(torch.from_numpy(logits), splits=SHUFFLED_PARTS)[KEY_METRIC_ISC_MEAN]
