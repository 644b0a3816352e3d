"""The real images that are nearest to drawn ones in feature space, among which a memorised one would show."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, UInt8

from pipeline.evaluation.image_sets import ImageSet
from pipeline.features.folder import FeatureFolder

FEATURE = "pool3"


class NearestImages(NamedTuple):
    """The nearest images of each query, the nearest first, and their Euclidean distances."""

    images: UInt8[np.ndarray, "queries count height width 3"]
    distances: Float64[np.ndarray, "queries count"]


def nearest_images(
    queries: Float[np.ndarray, "queries dims"], image_set: ImageSet, features: FeatureFolder, count: int
) -> NearestImages:
    """The `count` nearest images of each query, streamed over the features of a whole set, which must hold as many."""
    from scipy.spatial.distance import cdist

    distances = np.zeros((len(queries), 0))
    places = np.zeros((len(queries), 0, 2), np.int64)  # Which shard, and which row of it.
    for index, shard in enumerate(features.shards()):
        rows = np.arange(len(shard.keys))
        found = np.stack(np.broadcast_arrays(index, rows), axis=-1)
        distances = np.concatenate((distances, cdist(queries, shard.features[FEATURE])), axis=1)
        places = np.concatenate((places, np.broadcast_to(found, (len(queries), *found.shape))), axis=1)
        best = distances.argsort(axis=1, kind="stable")[:, :count]
        distances = np.take_along_axis(distances, best, axis=1)
        places = np.take_along_axis(places, best[..., None], axis=1)
    units = list(image_set.plan())
    of_shard = {index: image_set.read(units[index])["images"] for index in np.unique(places[..., 0])}
    images = np.stack([[of_shard[index][row] for index, row in nearest] for nearest in places.tolist()])
    return NearestImages(images, distances)
