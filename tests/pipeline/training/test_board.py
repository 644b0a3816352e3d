"""What a worker reports, and the request to stop."""

from pipeline.training.board import Board, StepStatus


def test_figures_are_a_text_of_what_is_known() -> None:
    assert StepStatus(step=0).figures == "starting"
    assert StepStatus(step=3, loss=5.31).figures == "loss 5.3100"
    assert StepStatus(step=3, loss=5.31, rows_per_s=1234.5).figures == "loss 5.3100, 1,234 rows/s"


def test_a_board_keeps_the_last_status_and_passes_on_the_request_to_stop() -> None:
    board = Board()
    assert board.read() is None
    assert [board.report(StepStatus(step=step)) for step in (1, 2)] == [False, False]
    board.request_stop()
    assert board.report(StepStatus(step=3))
    assert board.read() == StepStatus(step=3)
