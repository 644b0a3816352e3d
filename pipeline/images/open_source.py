"""The kinds of sources, by what their URL names: a folder of class folders, or files by a pattern."""

from collections.abc import Mapping

from bar_model.errors import BadInput
from pipeline.images.class_folders import ImageFolder
from pipeline.images.class_map import LabelMap
from pipeline.images.parquet import ParquetImages
from pipeline.images.source import Source
from pipeline.images.tar import TarImages
from pipeline.images.url_list import UrlList
from pipeline.storage import Folder

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


def _files(url: str) -> tuple[Folder, str]:
    directory, _, pattern = url.rpartition("/")
    folder = Folder(directory or ".")
    if not folder.list(pattern):
        raise BadInput(f"{url}: no file is there: check the path, or the bucket and its credentials")
    return folder, pattern
