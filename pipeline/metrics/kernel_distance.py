"""The kernel distance KID between sets of feature vectors, in float64."""

import numpy as np
import torch
from jaxtyping import Float

from bar_model.errors import BadInput

KID_SUBSET = 1000
"""Images in a subset, as in torch-fidelity."""


def kernel_distance(first: Float[np.ndarray, "first dims"], second: Float[np.ndarray, "second dims"]) -> float:
    """KID by torch-fidelity's rule: mean of 100 subsets of 1,000, drawn with seed 2020; cubic kernel, unbiased.

    Raises:
        BadInput: there are fewer than 1,000 images in either set.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    for features in (first, second):
        if len(features) < KID_SUBSET:
            raise BadInput(f"{len(features)} pictures: KID draws subsets of {KID_SUBSET:,}")
    both = (torch.from_numpy(features.astype(np.float64)) for features in (first, second))
    return kid_features_to_metric(*both, kid_subset_size=KID_SUBSET, verbose=False)[KEY_METRIC_KID_MEAN]
