import pytest
import torch

from bar_model.errors import BadInput
from bar_model.published.state_dict import require_shapes, tensor_shapes


def test_shapes_are_those_of_the_tensors() -> None:
    assert tensor_shapes({"a": torch.zeros(2, 3), "b": torch.zeros(())}) == {"a": (2, 3), "b": ()}


def test_what_fits_passes_and_what_does_not_is_named() -> None:
    shapes = {f"layer.{n}": (n,) for n in range(6)}
    require_shapes(shapes, dict(shapes), "the model")
    with pytest.raises(BadInput) as refused:
        require_shapes({"layer.0": (9,), "stranger": ()}, shapes, "the model")
    assert str(refused.value) == (
        "does not fit the model: 5 missing: layer.1, layer.2, layer.3, layer.4, …; "
        "1 unexpected: stranger; 1 of another shape: layer.0 (9,) instead of (0,)"
    )
