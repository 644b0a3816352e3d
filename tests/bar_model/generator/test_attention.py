import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bar_model.generator.attention import CausalAttention, QueryKeyValue, attend_causally
from bar_model.generator.rotary import axial_rotation


def test_half_of_the_query_heads_turn_by_the_target() -> None:
    """If the predicted position moves, the first half of the heads attends as before, the second does not."""
    from bar_model.generator.attention import SlotRotations

    attention, table = CausalAttention(32, 4, dropout=0.0).eval(), axial_rotation(4, 8, prefix=1)
    attention.out = nn.Linear(32, 32, bias=False)
    nn.init.eye_(attention.out.weight)
    x, own = torch.randn(1, 3, 32), table.at(torch.tensor([[0, 1, 2]]))
    near = attention(x, SlotRotations(own, table.at(torch.tensor([[1, 2, 3]]))))
    far = attention(x, SlotRotations(own, table.at(torch.tensor([[9, 12, 16]]))))
    assert torch.equal(near[..., :16], far[..., :16])
    assert not torch.allclose(near[0, 2, 16:], far[0, 2, 16:])


@pytest.mark.parametrize("slots", [1, 20, 300])
def test_where_training_attends_by_products_it_is_as_exact_as_bfloat16_allows(slots: int) -> None:
    torch.manual_seed(0)
    exact = [torch.randn(2, 4, slots, 24).bfloat16().double().requires_grad_() for _ in range(3)]
    rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    towards = torch.randn(2, 4, slots, 24).bfloat16()
    expected = attend_causally(QueryKeyValue(*exact))
    found = attend_causally(QueryKeyValue(*rounded))
    assert found.dtype == torch.bfloat16
    slopes = torch.autograd.grad(expected, exact, towards.double())
    gradients = torch.autograd.grad(found, rounded, towards)
    for name, one, other in zip(("out", "q", "k", "v"), (found, *gradients), (expected, *slopes), strict=True):
        # Half a unit in the last place is 0.2 %; scores, probabilities and results are each rounded once.
        assert (one - other).norm() <= 0.006 * other.norm() + 1e-6, name


def test_training_attends_by_products_only_where_torch_is_slow() -> None:
    """Drawing, float32 and other devices keep torch's kernel, whose roundings the engine repeats."""

    def is_fused(**changed: object) -> bool:
        options = {"dtype": torch.bfloat16, "requires_grad": True, "device": "cpu"} | changed
        heads = QueryKeyValue(*(torch.zeros(1, 2, 16, 8, **options) for _ in range(3)))  # pyright: ignore[reportArgumentType]
        with profile(activities=[ProfilerActivity.CPU]) as found:
            attend_causally(heads)
        return any("scaled_dot_product" in event.key for event in found.key_averages())

    assert not is_fused()
    assert is_fused(requires_grad=False)
    assert is_fused(dtype=torch.float32)
    assert is_fused(device="meta")
