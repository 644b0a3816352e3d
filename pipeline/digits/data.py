"""The 1,797 handwritten digits of scikit-learn as an image folder, which takes the same way as ImageNet."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from bar_model.errors import BadInput
from pipeline.execution.unit import WRITES_AT_ONCE
from pipeline.images.codec import to_png
from pipeline.storage import Folder

IMAGE_SIDE, SCAN_SIDE, GREY_LEVELS = 32, 8, 16
"""Sides of an image and of a scan in pixels, and the greatest level of grey in a scan."""
SPLITS = {"train": 1297, "validation": 200, "test": 300}


def write_digits(url: str, *, seed: int = 0) -> None:
    """Writes `SPLIT/CLASS/NUMBER.png`. The seed decides which digits are in which split.

    Files that are there already are left alone, so that a second run changes nothing, not even a time.

    Raises:
        BadInput: the folder holds something else, such as the splits of another seed, which these would mix with.
    """
    from sklearn.datasets import load_digits

    scans, labels = map(np.asarray, load_digits(return_X_y=True))
    images = enlarge(scans)
    names = {
        f"{name}/{labels[row]}/{row:04d}.png": row for name, rows in split(labels, seed=seed).items() for row in rows
    }
    folder = Folder(url)
    there = {entry.name for entry in folder.walk()} if folder.exists() else set()
    if others := sorted(there - names.keys()):
        raise BadInput(f"{url} holds {others[0]}, which seed {seed} does not put there: choose another folder")
    with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
        list(pool.map(lambda name: folder.create(name, to_png(images[names[name]])), names.keys() - there))


def split(labels: Int[np.ndarray, "digits"], *, seed: int) -> dict[str, Int[np.ndarray, "rows"]]:
    """The rows of each split, in order, with every class in proportion."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    rest, test = train_test_split(rows, test_size=SPLITS["test"], stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=SPLITS["validation"], stratify=labels[rest], random_state=seed)
    return {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}


def enlarge(scans: Float[np.ndarray, "batch 64"]) -> UInt8[np.ndarray, "batch 32 32 3"]:
    """Images of 32 × 32 pixels of scans with grey levels 0 … 16 and 8 × 8 pixels, enlarged bicubically."""
    pixels = np.round(scans.reshape(-1, SCAN_SIDE, SCAN_SIDE) * (255 / GREY_LEVELS)).astype(np.uint8)
    pictures = [Image.fromarray(scan).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC) for scan in pixels]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
