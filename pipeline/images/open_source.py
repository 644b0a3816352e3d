"""The kinds of sources, by what their URL names: a folder of class folders, or files by a pattern."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from bar_model.errors import BadInput
from pipeline.file_patterns import FilePattern
from pipeline.images.class_folders import ImageFolder
from pipeline.images.class_map import LabelMap
from pipeline.images.left_out import printable
from pipeline.images.parquet import ParquetImages
from pipeline.images.source import SummedUpSource
from pipeline.images.tar import TarImages
from pipeline.images.url_list import UrlList
from pipeline.images.urls.policy import UrlPolicy
from pipeline.storage import Folder

FILES = {".parquet": (ParquetImages, UrlList), ".tar": (TarImages,), ".csv": (UrlList,)}
"""Kinds of sources by the end of their files' names. The first kind that recognises the files takes them."""


def open_source(
    url: str,
    *,
    classes: Mapping[str, int] | None = None,
    num_classes: int | None = None,
    label_column: str = "label",
    image_column: str | None = None,
    policy: UrlPolicy | None = None,
) -> SummedUpSource:
    """The source that a URL names: FOLDER of class folders, or FOLDER/PATTERN of .parquet, .tar or .csv files.

    Examples of patterns are `data/train-*.parquet` and `data/shard-{000000..000127}.tar`. `image_column` chooses among
    several columns of images, or fields of a tar's samples. `policy` says what the URLs of a list may reach.

    Raises:
        BadInput: nothing is there, or it is no such source.
    """
    labels = LabelMap(classes=classes, num_classes=num_classes)
    for ending, kinds in FILES.items():
        if url.lower().endswith(ending):
            folder, pattern = _files(url)
            for kind in kinds:
                source = kind.open(folder, pattern, labels, label_column, image_column)
                if isinstance(source, UrlList):
                    return replace(source, policy=policy or source.policy)
                if source is not None:
                    return source
            raise BadInput(
                f"{url}: has neither a column of images (a struct of `bytes` and `path`) nor one named `url`: "
                "name files that have"
            )
    if _is_file(url):
        raise BadInput(
            f"{url} is a file of a kind that is not read: name a folder of class folders, or FOLDER/PATTERN of "
            f"{', '.join(FILES)} files"
        )
    if image_column is not None:
        raise BadInput(
            f"{url} holds class folders, of which each file is an image: --image-column is for Parquet files and tars"
        )
    return ImageFolder.open(url, classes, num_classes)


def _files(url: str) -> tuple[Folder, str]:
    directory, _, pattern = Folder(url).url.rpartition("/")
    folder = Folder(directory or "/")
    names = [entry.name for entry in folder.list(pattern)]
    if not names and folder.exists(pattern):
        raise BadInput(f"{url} is a folder: name the files in it by a pattern, such as {url}/*{PurePath(url).suffix}")
    if not names:
        raise BadInput(f"{url}: no file is there: check the path, or the bucket and its credentials")
    for name in names:
        if not _is_utf8(name):
            raise BadInput(f"{folder.path(printable(name))} has a name that is no UTF-8: rename it")
    if (missing := FilePattern(pattern).first_missing(names)) is not None:
        raise BadInput(f"{url}: {missing} is missing: restore it, or correct the range")
    return folder, pattern


def _is_utf8(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _is_file(url: str) -> bool:
    directory, _, name = Folder(url).url.rpartition("/")
    return any(entry.name == name for entry in Folder(directory or "/").list(name))
