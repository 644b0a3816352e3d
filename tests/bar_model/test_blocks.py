"""Blocks that are compiled or recomputed compute what they did."""

import copy
import subprocess
import sys

import pytest
import torch

from bar_model.blocks import arrange_blocks, blocks_of
from bar_model.errors import BadInput
from bar_model.memory import peak_bytes
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import TINY_TOKENIZER, loss_and_gradients, make_bar, tiny_config


def test_recomputed_blocks_give_the_same_bits_in_less_memory() -> None:
    kept = make_bar(tiny_config(dropout=0.2)).train()
    recomputed = copy.deepcopy(kept)
    arrange_blocks(recomputed, compiled=False, recompute=True)
    (loss, expected), (found, others) = loss_and_gradients(kept), loss_and_gradients(recomputed)
    assert torch.equal(loss, found)
    assert all(torch.equal(one, other) for one, other in zip(expected, others, strict=True))
    assert peak_bytes(lambda: loss_and_gradients(recomputed)) < 0.8 * peak_bytes(lambda: loss_and_gradients(kept))


@pytest.mark.long
def test_a_tokenizers_blocks_are_recomputed_too() -> None:
    kept = Tokenizer(TINY_TOKENIZER)
    recomputed = copy.deepcopy(kept)
    arrange_blocks(recomputed, compiled=False, recompute=True)
    assert len(blocks_of(kept)) == 2 + 3  # The encoder's and the decoder's.
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    for tokenizer in (kept, recomputed):
        tokenizer(images).reconstruction.square().sum().backward()
    for one, other in zip(kept.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    assert all(next(block.parameters()).grad is not None for block in blocks_of(recomputed))


def test_copies_are_as_the_model_was() -> None:
    bar = make_bar(tiny_config())
    arrange_blocks(bar, compiled=False, recompute=True)
    assert len(blocks_of(bar)) == 4
    assert all(block._compiled_call_impl is not None for block in blocks_of(bar))
    assert all(block._compiled_call_impl is None for block in blocks_of(copy.deepcopy(bar)))


def test_without_a_compiler_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match=r"no C\+\+ compiler found \(g\+\+, clang\+\+\): install one, or train without"):
        arrange_blocks(make_bar(tiny_config()), compiled=True, recompute=False)


COMPILED = """
import copy
import torch
from torch._dynamo.utils import counters
from bar_model.blocks import arrange_blocks
from tests.harness.tiny import loss_and_gradients, make_bar, tiny_config

plain = make_bar(tiny_config()).train()
expected, slopes = loss_and_gradients(plain)
for recompute in (False, True):
    torch.compiler.reset()
    counters.clear()
    bar = copy.deepcopy(plain)
    arrange_blocks(bar, compiled=True, recompute=recompute)
    found, others = loss_and_gradients(bar)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(slopes, others, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 2, counters  # one for all layers, and one for those of the head
    assert not counters["graph_break"], counters
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(loss_and_gradients(bar, num=3)[0], loss_and_gradients(plain, num=3)[0])
    assert counters["stats"]["unique_graphs"] == 2, counters
"""


@pytest.mark.slow
def test_compiled_blocks_differ_by_rounding_and_are_compiled_once_for_all_layers() -> None:
    """The code runs in another process without run-time checks of shapes, which Dynamo can't trace."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True)
