"""Inception scores and the kernel distance KID, in float64."""

import numpy as np
import torch
from jaxtyping import Float

from bar_model.errors import BadInput

SPLIT = 5000
"""Pictures of a part of the Inception score, by the published evaluation's rule."""
SHUFFLED_PARTS, KID_SUBSET = 10, 1000
"""As torch-fidelity has them."""


def inception_score(logits: Float[np.ndarray, "num classes"]) -> float:
    """exp(mean KL(p(y|x) ‖ p(y))) of each 5,000 pictures in the order given, averaged: the published evaluation's rule.

    The last part may be shorter. The order counts: sorted by class, the same pictures score far less.
    """
    from scipy.special import log_softmax

    scores = []
    for start in range(0, len(logits), SPLIT):
        log_p = log_softmax(logits[start : start + SPLIT].astype(np.float64), axis=1)
        p = np.exp(log_p)
        scores.append(np.exp((p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1).mean()))
    return float(np.mean(scores))


def shuffled_inception_score(logits: Float[np.ndarray, "num classes"]) -> float:
    """torch-fidelity's rule: ten parts of the pictures in an order drawn with seed 2020."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    if len(logits) < SHUFFLED_PARTS:
        raise BadInput(f"{len(logits)} pictures: the shuffled Inception score takes {SHUFFLED_PARTS} parts")
    return isc_features_to_metric(torch.from_numpy(logits), splits=SHUFFLED_PARTS)[KEY_METRIC_ISC_MEAN]


def kernel_distance(first: Float[np.ndarray, "first dims"], second: Float[np.ndarray, "second dims"]) -> float:
    """KID by torch-fidelity's rule: mean of 100 subsets of 1,000, drawn with seed 2020; cubic kernel, unbiased."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    for features in (first, second):
        if len(features) < KID_SUBSET:
            raise BadInput(f"{len(features)} pictures: KID draws subsets of {KID_SUBSET:,}")
    both = (torch.from_numpy(features.astype(np.float64)) for features in (first, second))
    return kid_features_to_metric(*both, kid_subset_size=KID_SUBSET, verbose=False)[KEY_METRIC_KID_MEAN]
