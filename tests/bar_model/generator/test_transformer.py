import pytest
import torch

from bar_model.errors import BadInput
from bar_model.generator.sampling import random_order, raster_order
from bar_model.generator.transformer import TransformerConfig
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


@pytest.mark.parametrize(("width", "heads"), [(32, 3), (30, 4), (24, 4)])
def test_impossible_heads_are_refused(width: int, heads: int) -> None:
    with pytest.raises(BadInput, match=f"width {width} and {heads} heads"):
        TransformerConfig(width=width, depth=1, heads=heads)
