"""Panels: images in named rows and groups of columns under a title, several of them on a page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from pipeline.images.codec import GRID_GAP, to_grid

BACKGROUND, INK, FADED = (255, 255, 255), (20, 20, 20), (110, 110, 110)
GROUP_GAP, MARGIN = 18, 12
TITLE_SIZE, TEXT_SIZE = 18, 13


class Panel(NamedTuple):
    """Images of one size in rows, in groups beside each other, such as "guided" | "unguided".

    `rows` names the rows; each group holds (rows, columns, height, width, 3) uint8. The title may be empty; `about`, a
    sentence or two on what the panel shows, is not drawn.
    """

    title: str
    rows: Sequence[str]
    groups: Mapping[str, UInt8[np.ndarray, "rows columns height width 3"]]
    about: str = ""


def draw_panel(panel: Panel, *, scale: int = 1) -> UInt8[np.ndarray, "height width 3"]:
    """The panel as one image, each pixel of its images as `scale` × `scale` pixels."""
    blocks = [_grid(images, scale) for images in panel.groups.values()]
    text = ImageFont.load_default(TEXT_SIZE)
    row_height = (blocks[0].shape[0] + GRID_GAP) // len(panel.rows)
    left = MARGIN + max((round(text.getlength(name)) for name in panel.rows), default=0) + MARGIN
    top = MARGIN + (TITLE_SIZE + MARGIN if panel.title else 0) + (TEXT_SIZE + MARGIN if any(panel.groups) else 0)
    starts = left + np.cumsum([0] + [block.shape[1] + GRID_GAP + GROUP_GAP for block in blocks])
    title_end = MARGIN + round(ImageFont.load_default(TITLE_SIZE).getlength(panel.title))
    width = max(int(starts[-1]) - GROUP_GAP, title_end) + MARGIN
    canvas = Image.new("RGB", (width, top + blocks[0].shape[0] + GRID_GAP + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), panel.title, INK, ImageFont.load_default(TITLE_SIZE))
    for row, name in enumerate(panel.rows):
        draw.text((left - MARGIN, top + row * row_height + row_height // 2), name, INK, text, anchor="rm")
    for start, name, block in zip(starts, panel.groups, blocks, strict=False):
        draw.text((int(start), top - MARGIN // 2), name, FADED, text, anchor="ls")
        canvas.paste(Image.fromarray(block), (int(start), top))
    return np.asarray(canvas)


def draw_page(panels: Sequence[Panel], *, scale: int = 1) -> UInt8[np.ndarray, "height width 3"]:
    """Several panels below each other, as one image."""
    pictures = [draw_panel(panel, scale=scale) for panel in panels]
    width = max(picture.shape[1] for picture in pictures)
    fill = BACKGROUND[0]
    return np.concatenate(
        [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=fill) for picture in pictures]
    )


def _grid(images: UInt8[np.ndarray, "rows columns height width 3"], scale: int) -> np.ndarray:
    """The images as one, each pixel as `scale` × `scale`."""
    enlarged = images.repeat(scale, axis=2).repeat(scale, axis=3)
    return to_grid(enlarged.reshape(-1, *enlarged.shape[2:]), columns=images.shape[1])
