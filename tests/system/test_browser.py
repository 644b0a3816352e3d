"""What people look at, in a real browser: MLflow's pages of a run and its stages, and the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.evaluation.illustrations import cost_shown
from pipeline.reports.page import PAGE, Illustration, draw_report
from pipeline.reports.panel import Panel
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.browser import Browser, find_browser
from tests.harness.mlflow_server import Server
from tests.harness.reports import CHAIN, IMAGES, report

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = [pytest.mark.browser, pytest.mark.system]
STEPS, PICTURED = 50, (0, 20, 40)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Browser(program, height=2000) as browser:  # What lies below is drawn when it is scrolled to.
        yield browser


@pytest.fixture
def page() -> bytes:
    """A report of three seeds."""
    judged = report(1.4, 1.5, 1.6)
    panel = Panel("Samples", ["a", "b"], {"": IMAGES}, "Chosen by chance.")
    cost = cost_shown(1.5, judged.protocol.measurement, 20.0, "2 CPUs")
    return draw_report("Samples beside real pictures", judged, [Illustration.of(panel), cost], [CHAIN])


class MlflowPages(NamedTuple):
    """Where MLflow's pages are."""

    experiment: str
    training: str
    evaluation: str


@pytest.fixture
def mlflow_pages(server: Server, page: bytes, tmp_path: Path) -> MlflowPages:
    """A pipeline of two stages, as jobs tell it."""
    config = TrackingConfig(uri=server.uri, spool=str(tmp_path / "spool"), experiment="digits")
    with start_run("quickstart", config, {"seed": 0}) as run:
        with run.child("train", {"steps": STEPS}) as training:
            for step in range(STEPS):
                training.metrics({"train/loss": 1 / (step + 1), "validation/loss": 1.1 / (step + 1)}, step=step)
            for step in PICTURED:
                training.image("progress", np.full((64, 128, 3), 4 * step, np.uint8), step=step)
            train_id = training.run_id()
        with run.child("evaluate", {"num_images": 300}) as evaluation:
            evaluation.artifact(PAGE, page)
            evaluate_id = evaluation.run_id()
    experiment = f"{server.uri}/#/experiments/1"
    return MlflowPages(experiment, f"{experiment}/runs/{train_id}", f"{experiment}/runs/{evaluate_id}")


def test_mlflow_shows_the_tree_the_curves_the_grids_and_the_report(
    browser: Browser, mlflow_pages: MlflowPages, tmp_path: Path
) -> None:
    browser.open(f"{mlflow_pages.experiment}/runs")
    browser.wait_for_text("quickstart")
    row = "[...document.querySelectorAll('[role=row]')].find(row => row.innerText.includes('quickstart'))"
    assert "train" not in browser.evaluate(f"{row}.parentElement.innerText").split()
    browser.evaluate(f"{row}.querySelector('button').click()")
    for stage in ("train", "evaluate"):
        browser.wait_for_text(stage)

    browser.open(f"{mlflow_pages.training}/model-metrics")
    for curve in ("train (train/loss)", "train (validation/loss)"):
        browser.wait_for_text(curve)
    browser.wait_for("[...document.querySelectorAll('.js-plotly-plot .xtick')].some(tick => tick.textContent == '40')")
    grids = "[...document.querySelectorAll('img')].filter(image => image.src.includes('progress%2Bstep%2B'))"
    browser.wait_for(f"{grids}.some(image => image.naturalWidth > 0)")

    browser.open(f"{mlflow_pages.evaluation}/artifacts/{PAGE}")
    browser.wait_for("document.querySelector('iframe') !== null")
    (tmp_path / "mlflow.png").write_bytes(browser.screenshot())


def test_the_report_shows_all_of_itself_without_anything_else(browser: Browser, page: bytes, tmp_path: Path) -> None:
    (tmp_path / PAGE).write_bytes(page)
    browser.open(f"file://{tmp_path / PAGE}")
    for part in ("Results", "Samples", "Quality and cost", "Where it comes from", "Protocol"):
        assert part in browser.text
    assert (
        browser.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
        == 0
    )
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.evaluate("document.images.length") == 2
    # Nothing sticks out, on a screen as on a telephone.
    for width in (1400, 390):
        browser.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    browser.command("Emulation.clearDeviceMetricsOverride")
