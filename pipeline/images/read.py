"""Images of a source as a stage reads them: decoded, cropped, and those that can't be used kept apart."""

from collections.abc import Sequence

import numpy as np

from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.execution.unit import Row
from pipeline.images.codec import BadImage, UnreachableImage, decode_and_crop
from pipeline.images.source import ListedImage, Source, read_all


def read_images(source: Source, listed: Sequence[ListedImage], size: int) -> Row:
    """Images of a source, cropped: `images` (N, size, size, 3) uint8, and `records` (JSON of `Records`).

    Images that can't be used are among the quarantined of the records, with the reason and whether it may pass.
    """
    images: list[np.ndarray] = []
    keys: list[str] = []
    labels: list[int] = []
    quarantined: list[Quarantined] = []
    for item in read_all(source, listed):
        try:
            if isinstance(item.data, BadImage):
                raise item.data
            images.append(decode_and_crop(item.data, size))
        except BadImage as error:
            is_passing = isinstance(error, UnreachableImage)
            quarantined.append(Quarantined(item.key, item.where, str(error), is_passing))
        else:
            keys.append(item.key)
            labels.append(item.label)
    stacked = np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
    return {"images": stacked, "records": Records(keys, labels, quarantined).to_json()}
