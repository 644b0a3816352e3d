import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bar_model.errors import BadInput
from bar_model.generator.attention import CausalAttention, QueryKeyValue, attend_causally
from bar_model.generator.bar import Bar
from bar_model.generator.rotary import axial_rotation, rotate
from bar_model.generator.sampling import random_order, raster_order
from bar_model.generator.transformer import TransformerConfig
from bar_model.layers import SwiGLU
from tests.harness.tiny import make_bar, random_bits, tiny_config


@pytest.mark.parametrize("changed", range(16))
def test_a_later_token_never_changes_an_earlier_context(changed: int) -> None:
    bar, bits = make_bar(tiny_config()), random_bits(2, 16, 6)
    order = random_order(0, torch.arange(2), 16)
    labels = torch.tensor([1, 4])
    other = bits.clone()
    other[torch.arange(2), order[:, changed]] ^= True
    before, after = bar.contexts(bits, labels, order), bar.contexts(other, labels, order)
    # The context at a place predicts the token there, so it may depend on the tokens before alone.
    assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])
    assert changed == 15 or not torch.allclose(before[:, changed + 1], after[:, changed + 1])


@pytest.mark.parametrize("patch", [1, 2])
def test_decoding_with_the_cache_equals_teacher_forcing(patch: int) -> None:
    bar, bits = make_bar(tiny_config(patch=patch)), random_bits(2, 16, 6)
    labels, num_tokens = torch.tensor([0, 5]), bar.transformer.num_tokens
    order = random_order(3, torch.arange(2), num_tokens)
    expected = bar.contexts(bits, labels, order)
    from bar_model.bits import merge_patches

    tokens = merge_patches(bits, patch)
    context, state = bar.transformer.prefill(labels, order)
    for place in range(num_tokens):
        torch.testing.assert_close(context, expected[:, place], rtol=0, atol=2e-6)
        if place < num_tokens - 1:
            context = bar.transformer.decode(tokens[torch.arange(2), order[:, place]], state)


def test_a_dropped_class_is_the_last_row_of_the_table() -> None:
    bar, bits = make_bar(tiny_config()), random_bits(1, 16, 6)
    assert bar.transformer.class_embedding.weight.shape[0] == 2 + 1 + 5 + 1
    order, dropped = raster_order(1, 16, bits.device), torch.tensor([bar.dropped_class])
    before = bar.contexts(bits, dropped, order)
    with torch.no_grad():
        bar.transformer.class_embedding.weight[:-1] += 1
    assert torch.equal(bar.contexts(bits, dropped, order), before)


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


def test_half_of_the_query_heads_turn_by_the_target() -> None:
    """Where the predicted place moves, the first half of the heads attends as before, the second does not."""
    from bar_model.generator.attention import SlotRotations

    attention, table = CausalAttention(32, 4, dropout=0.0).eval(), axial_rotation(4, 8, prefix=1)
    attention.out = nn.Linear(32, 32, bias=False)
    nn.init.eye_(attention.out.weight)
    x, own = torch.randn(1, 3, 32), table.at(torch.tensor([[0, 1, 2]]))
    near = attention(x, SlotRotations(own, table.at(torch.tensor([[1, 2, 3]]))))
    far = attention(x, SlotRotations(own, table.at(torch.tensor([[9, 12, 16]]))))
    assert torch.equal(near[..., :16], far[..., :16])
    assert not torch.allclose(near[0, 2, 16:], far[0, 2, 16:])


def test_dropout_acts_in_two_places_and_only_in_training() -> None:
    bar = Bar(tiny_config(dropout=0.5))
    places = {
        name.rpartition(".")[0].rpartition(".")[2] for name, part in bar.named_modules() if isinstance(part, nn.Dropout)
    }
    assert places == {"attention", "feed_forward"}
    feed_forward = SwiGLU(8, dropout=1.0)
    x = torch.randn(2, 8)
    # Between the product and the last linear: with everything dropped, that linear's bias is left.
    torch.testing.assert_close(feed_forward(x), feed_forward.out.bias.expand(2, 8))
    assert not torch.allclose(feed_forward.eval()(x), feed_forward.out.bias.expand(2, 8))


def test_initialisation() -> None:
    bar = Bar(tiny_config(grid=8))
    for name, parameter in bar.named_parameters():
        if "modulation" in name or name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif not name.endswith("frequencies"):
            assert parameter.abs().max() <= 2.0
            if parameter.numel() > 1000:
                assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
    frequencies = bar.get_parameter("head.ratio_embedding.frequencies")
    assert not frequencies.requires_grad
    assert frequencies.std().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(("width", "heads"), [(32, 3), (30, 4), (24, 4)])
def test_impossible_heads_are_refused(width: int, heads: int) -> None:
    with pytest.raises(BadInput, match=f"width {width} and {heads} heads"):
        TransformerConfig(width=width, depth=1, heads=heads)


@pytest.mark.parametrize("slots", [1, 20, 300])
def test_where_training_attends_by_products_it_is_as_exact_as_bfloat16_allows(slots: int) -> None:
    torch.manual_seed(0)
    exact = [torch.randn(2, 4, slots, 24).bfloat16().double().requires_grad_() for _ in range(3)]
    rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    towards = torch.randn(2, 4, slots, 24).bfloat16()
    expected = attend_causally(QueryKeyValue(*exact))
    found = attend_causally(QueryKeyValue(*rounded))
    assert found.dtype == torch.bfloat16
    wanted = torch.autograd.grad(expected, exact, towards.double())
    gradients = torch.autograd.grad(found, rounded, towards)
    for name, one, other in zip(("out", "q", "k", "v"), (found, *gradients), (expected, *wanted), strict=True):
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
