import pickle

from bar_model.errors import BadInput, one_line


def test_its_line_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(BadInput("patch 3: must divide the grid")))  # noqa: S301  (made here)
    assert isinstance(error, BadInput)
    assert isinstance(error, ValueError)
    assert str(error) == "patch 3: must divide the grid"


def test_an_error_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("first\n\tsecond  third\n")) == "first second third"
