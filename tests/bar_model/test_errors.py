import pickle

from bar_model.errors import BadInput


def test_its_line_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(BadInput("patch 3: must divide the grid")))  # noqa: S301  (made here)
    assert isinstance(error, BadInput)
    assert isinstance(error, ValueError)
    assert str(error) == "patch 3: must divide the grid"
