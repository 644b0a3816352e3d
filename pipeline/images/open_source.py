"""The kinds of sources, by what their URL names: a folder of class folders, or files by a pattern."""

import json
from collections.abc import Mapping

from bar_model.errors import BadInput
from pipeline.images.class_folders import ImageFolder
from pipeline.images.parquet import ParquetImages
from pipeline.images.source import LabelMap, Source
from pipeline.images.tar import TarImages
from pipeline.images.url_list import UrlList
from pipeline.storage import Folder, read_url

FILES = {".parquet": (ParquetImages, UrlList), ".tar": (TarImages,), ".csv": (UrlList,)}
"""Kinds of sources by the end of their files' names. The first kind that recognises the files takes them."""


def open_source(
    url: str, *, classes: Mapping[str, int] | None = None, num_classes: int | None = None, label_column: str = "label"
) -> Source:
    """The source that a URL names: FOLDER of class folders, or FOLDER/PATTERN of .parquet, .tar or .csv files.

    An example of a pattern is `data/train-*.parquet`.

    Raises:
        BadInput: nothing is there, or it is no such source.
    """
    labels = LabelMap(classes=classes, num_classes=num_classes)
    for ending, kinds in FILES.items():
        if url.endswith(ending):
            folder, pattern = _files(url)
            for kind in kinds:
                source = kind.open(folder, pattern, labels, label_column)
                if source is not None:
                    return source
            raise BadInput(
                f"{url}: has neither a column of images (a struct of `bytes` and `path`) nor one named `url`: "
                "name files that have"
            )
    return ImageFolder.open(url, classes, num_classes)


def read_classes(url: str) -> dict[str, int]:
    """Labels by class name from a JSON file such as {"n01440764": 0, …}.

    Raises:
        BadInput: the file is missing, or is no such map.
    """
    try:
        classes = json.loads(read_url(url))
    except (FileNotFoundError, ValueError) as error:
        raise BadInput(f"{url}: is no JSON file of labels by class name ({error})") from error
    if not isinstance(classes, dict) or not all(
        type(label) is int and 0 <= label < 2**31 for label in classes.values()
    ):
        raise BadInput(f'{url}: labels by class name are expected, {{"n01440764": 0, …}}, each 0 or more')
    return classes


def _files(url: str) -> tuple[Folder, str]:
    directory, _, pattern = url.rpartition("/")
    folder = Folder(directory or ".")
    if not folder.list(pattern):
        raise BadInput(f"{url}: no file is there: check the path, or the bucket and its credentials")
    return folder, pattern
