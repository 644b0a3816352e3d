"""A report as one HTML page that needs nothing else: no server, no script, no other file."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bar_model.configuration import parameters
from pipeline.images.codec import to_png
from pipeline.redaction import redact_text
from pipeline.reports.panel import Panel, draw_panel
from pipeline.reports.report import Report, table_rows
from pipeline.tracking.lineage import Origin

PAGE = "report.html"
TEMPLATE = "report.html.jinja"
LARGEST, SMALLEST = 128, 64
"""Sides of images on a page, in pixels. Images are enlarged or reduced by whole factors."""


class Illustration(NamedTuple):
    """An image of a report, and what it shows."""

    title: str
    about: str
    picture: bytes
    media: Literal["image/png", "image/svg+xml"] = "image/png"

    @classmethod
    def of(cls, panel: Panel) -> "Illustration":
        """An illustration of a panel, with its images enlarged or reduced to a size that suits a page."""
        size = next(iter(panel.groups.values())).shape[-2]
        groups = {name: _reduced(images, max(1, size // LARGEST)) for name, images in panel.groups.items()}
        drawn = draw_panel(panel._replace(title="", groups=groups), scale=max(1, SMALLEST // size))
        return cls(panel.title, panel.about, to_png(drawn))

    @property
    def url(self) -> str:
        """The image itself, as a data URL."""
        return f"data:{self.media};base64,{base64.b64encode(self.picture).decode()}"


def draw_report(title: str, report: Report, illustrations: Sequence[Illustration], origins: Sequence[Origin]) -> bytes:
    """The page of a report. Equal reports give equal bytes, so the page does not say when it was made."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_secrets,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    table = table_rows(report.results)
    page = environment.get_template(TEMPLATE).render(
        title=title,
        rows=table,
        sets=list(dict.fromkeys(name for row in table for name in row.sets)),
        has_goals=any(row.result.figure.goal for row in table),
        notes=report.notes,
        illustrations=illustrations,
        origins=origins,
        protocol=parameters(report.protocol),
    )
    return page.encode()


def _without_secrets(value: object) -> object:
    """What a template shows, without the secrets of URLs in it; images are left as they are."""
    return redact_text(value) if type(value) is str and not value.startswith("data:") else value


def _reduced(
    images: UInt8[np.ndarray, "rows columns height width 3"], factor: int
) -> UInt8[np.ndarray, "rows columns smaller smaller 3"]:
    if factor == 1:
        return images
    return np.stack([[np.asarray(Image.fromarray(image).reduce(factor)) for image in row] for row in images])
