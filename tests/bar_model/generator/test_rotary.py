import torch

from bar_model.generator.rotary import axial_rotation, rotate


def test_attention_scores_depend_on_relative_places() -> None:
    """A shift of both places by one row leaves the score of a query and a key."""
    table = axial_rotation(4, 8, prefix=1)
    query, key = torch.randn(1, 8), torch.randn(1, 8)

    def score(query_place: int, key_place: int) -> torch.Tensor:
        cos, sin = table
        turned = [
            rotate(x, type(table)(cos[[place]], sin[[place]])) for x, place in ((query, query_place), (key, key_place))
        ]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(1 + 2, 1 + 1), score(1 + 6, 1 + 5), rtol=0, atol=1e-5)
    assert (score(1 + 2, 1 + 1) - score(1 + 2, 1 + 3)).abs() > 1e-3
    torch.testing.assert_close(score(0, 0), (query * key).sum())
