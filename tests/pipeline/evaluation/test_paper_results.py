"""The paper's table."""

from bar_model.presets import GENERATORS
from pipeline.evaluation.fid_protocol import PUBLISHED_FIGURES
from pipeline.evaluation.paper_results import PAPER_RESULTS


def test_every_row_is_of_a_preset_and_has_all_figures() -> None:
    for name, row in PAPER_RESULTS.items():
        assert name in GENERATORS
        assert list(row.figures) == [figure.name for figure in PUBLISHED_FIGURES]
        assert row.generator.endswith(".bin")
        assert row.tokenizer.endswith(".bin")
    assert sum(row.images_per_s is not None for row in PAPER_RESULTS.values()) == 4
