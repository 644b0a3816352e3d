"""Panels: every pixel where it belongs."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.reports.panel import Panel, draw_panel

RNG = np.random.default_rng(0)


def test_a_panel_holds_every_pixel_where_it_belongs(tmp_path: Path) -> None:
    images = RNG.integers(0, 200, (2, 3, 8, 8, 3), dtype=np.uint8)
    picture = draw_panel(Panel("Title", ["a", "b"], {"left": images[:, :2], "right": images[:, 2:]}), scale=2)
    large = images.repeat(2, axis=2).repeat(2, axis=3)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (16, 16, 3))[:, :, 0]
    places = [np.argwhere((windows == image).all(axis=(2, 3, 4))) for image in large.reshape(6, 16, 16, 3)]
    assert all(len(found) == 1 for found in places)
    tops, lefts = np.concatenate(places).reshape(2, 3, 2).transpose(2, 0, 1)
    assert (tops[0] == tops[0, 0]).all()
    assert (np.diff(lefts, axis=1) >= 16).all()
    assert tops[1, 0] - tops[0, 0] == 18
    Image.fromarray(picture).save(tmp_path / "panel.png")
