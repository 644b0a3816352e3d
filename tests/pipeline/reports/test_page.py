"""The page of a report: all in one file, nothing that a name or a note could smuggle in."""

import base64
import re
from html.parser import HTMLParser

import numpy as np

from pipeline.digits.protocol import ImagesIdentity
from pipeline.evaluation.illustrations import cost_shown
from pipeline.reports.page import Illustration, draw_report
from pipeline.reports.panel import Panel
from pipeline.reports.report import Figure, Goal, Report, Result, table_rows
from pipeline.tracking.lineage import Input, Origin
from tests.harness.reports import CHAIN, IMAGES, report


class Page(HTMLParser):
    """Its tags, the text of its table cells, and what it would load."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.urls: list[str] = []
        self._in_cell = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag in ("td", "th"):
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data.strip()


def test_a_page_holds_its_pictures_and_loads_nothing() -> None:
    panel = Panel("Samples", ["a", "b"], {"": IMAGES}, "Chosen by chance.")
    illustrations = [Illustration.of(panel), cost_shown(1.5, report(1.5).protocol.measurement, 20.0, "2 CPUs")]
    drawn = draw_report("Title", report(1.5), illustrations, [CHAIN])
    page = Page(drawn)
    assert page.tags.count("img") == 2
    assert all(url.startswith("data:image/") for url in page.urls)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in drawn.decode()
    pictures = [base64.b64decode(url.partition(",")[2]) for url in page.urls]
    assert pictures[0].startswith(b"\x89PNG")
    assert b"<svg" in pictures[1]
    assert draw_report("Title", report(1.5), illustrations, [CHAIN]) == drawn


def test_a_chain_goes_from_samples_to_codes() -> None:
    drawn = draw_report("Title", report(1.5), [], [CHAIN]).decode()
    chain = drawn[drawn.index('<ul class="chain">') :]
    assert re.findall(r"<code>(.)", chain) == ["s", "g", "c"]
    assert chain.count("<ul") == 3


def test_what_comes_from_outside_is_text() -> None:
    evil = "<script>alert(1)</script>"
    odd = Report(protocol=ImagesIdentity(num=1, fingerprint=evil), results=(), notes=(evil,))
    page = Page(draw_report(evil, odd, [Illustration(evil, evil, b"")], [Origin(Input(evil, evil, evil), None)]))
    assert "script" not in page.tags


def test_several_sets_are_a_row_with_their_spread_and_their_least_is_named_as_such() -> None:
    (fid, recall) = table_rows(report(3.0, 4.0).results)
    assert (fid.result.value, fid.minimum, fid.sets) == (3.5, 3.0, {"seed 0": 3.0, "seed 1": 4.0})
    assert fid.deviation == np.std([3, 4], ddof=1)
    assert (recall.minimum, list(recall.sets)) == (None, ["seed 0", "seed 1"])
    cells = Page(draw_report("Title", report(3.0, 4.0), [], [])).cells
    assert cells[:6] == ["", "result", "± deviation", "minimum", "seed 0", "seed 1"]
    assert cells[6:12] == ["FID, mean of 2 sets", "3.5", "± 0.71", "3", "3", "4"]


def test_goals_stand_beside_their_results() -> None:
    results = (
        Result(Figure("a", "Share", "%", Goal("at least", 0.95)), 0.987),
        Result(Figure("a_b", "Ratio", "×", Goal("near", 4, 0.5)), 4.6),
        Result(Figure("c", "PSNR", "dB"), 21.25),
    )
    odd = Report(protocol=ImagesIdentity(num=1, fingerprint="f"), results=results)
    cells = Page(draw_report("Title", odd, [], [])).cells
    assert cells[4:8] == ["Share", "98.7 %", "at least 95 %", "reached"]
    assert cells[8:12] == ["Ratio", "4.6 ×", "near 4 × ± 0.5 ×", "missed"]
    assert cells[12:16] == ["PSNR", "21.25 dB", "", ""]
