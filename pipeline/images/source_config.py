"""How a job reads images from sources: part of the configuration of each job that does."""

from dataclasses import dataclass
from typing import Annotated

from bar_model.ranges import Positive, Range, check_ranges
from pipeline.images.class_map import read_classes
from pipeline.images.codec import MAX_PIXELS
from pipeline.images.open_source import open_source
from pipeline.images.source import SummedUpSource
from pipeline.images.urls.policy import UrlPolicy
from pipeline.paths import InputUrl


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How images are read from sources: what their labels and columns are, and what the URLs of a list may reach."""

    classes: InputUrl | None = None
    """JSON file of labels by class name (else: class folders count in the order of their names, others as given)."""
    num_classes: Positive | None = None
    """Labels from here on are refused before any work."""
    label_column: str = "label"
    """Column of labels in Parquet and CSV files."""
    image_column: str | None = None
    """Column of images in Parquet files that have several, or field of the samples of tars, such as input.jpg."""
    allow_local: bool = False
    """A list of URLs may name files of this machine outside of its own folder, also with file://."""
    allow_private: bool = False
    """A list may name hosts at private addresses (this machine's, too), and stores outside of its own folder."""
    allow_proxies: bool = False
    """A list's URLs go through the proxies of http_proxy and https_proxy, which then look up the hosts themselves."""

    max_pixels: Annotated[int, Range(least=1, most=MAX_PIXELS)] = MAX_PIXELS
    """Larger images are quarantined. Each of those that read reserves 17 bytes a pixel: fewer let more of them read."""

    def __post_init__(self) -> None:
        check_ranges(self)

    def open(self, url: str) -> SummedUpSource:
        """The source that a URL names, read as this says.

        Raises:
            BadInput: nothing is there, or it is no such source.
        """
        return open_source(
            url,
            classes=read_classes(self.classes) if self.classes else None,
            num_classes=self.num_classes,
            label_column=self.label_column,
            image_column=self.image_column,
            policy=UrlPolicy(
                allow_local=self.allow_local, allow_private=self.allow_private, allow_proxies=self.allow_proxies
            ),
        )
