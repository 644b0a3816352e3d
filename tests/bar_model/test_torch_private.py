"""PyTorch's private interfaces: this file fails first where an upgrade of PyTorch changes one."""

import copy
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bar_model import torch_private
from tests.harness.repository import REPOSITORY

PRIVATE = re.compile(r"torch(\.\w+)*\._\w|\._(compiled_call|call)_impl\b|\._cdata\b|\.(grad_scale|found_inf)\b")


def test_they_stand_in_one_file() -> None:
    found = {
        str(file.relative_to(REPOSITORY)): match[0]
        for package in ("bar_model", "pipeline", "jobs")
        for file in (REPOSITORY / package).rglob("*.py")
        if (match := PRIVATE.search(file.read_text()))
    }
    assert found.pop("bar_model/torch_private.py")
    assert not found


def test_a_block_is_recomputed_on_the_way_back_and_copies_are_not() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.runs = nn.Linear(3, 3), 0

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            return self.linear(x).tanh()

    block = Counting()
    torch_private.recompute_in_backward(block)
    copied = copy.deepcopy(block)
    for each, runs in ((block, 2), (copied, 1)):
        each(torch.randn(2, 3)).sum().backward()
        assert each.runs == runs


def test_ddp_splits_no_graph() -> None:
    """The code runs in another process, since the switch holds for the whole process."""
    code = (
        "import torch; from bar_model.torch_private import split_no_graph_for_ddp as off; "
        "assert torch._dynamo.config.optimize_ddp; off(); assert not torch._dynamo.config.optimize_ddp"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_onednn_multiplies_by_reordered_weights() -> None:
    assert torch_private.mkldnn_has_bfloat16() in (True, False)
    x, weight, bias = torch.randn(2, 5, 33), torch.randn(47, 33), torch.randn(47)
    for each in (bias, None):
        found = torch_private.mkldnn_linear(x, torch_private.mkldnn_weight(weight), each)
        torch.testing.assert_close(found, nn.functional.linear(x, weight, each), atol=1e-4, rtol=1e-4)


def test_averages_move_as_by_the_public_lerp() -> None:
    averages, values = [torch.randn(3), torch.randn(2, 2)], [torch.randn(3), torch.randn(2, 2)]
    expected = [average.lerp(value, 0.25) for average, value in zip(averages, values, strict=True)]
    torch_private.lerp_all(averages, values, torch.tensor(0.25))
    torch.testing.assert_close(averages, expected)


def test_a_fused_step_takes_its_divisor_and_is_skipped() -> None:
    def stepped(gradient: float, **scaling: Any) -> float:
        parameter = nn.Parameter(torch.ones(()))
        # An epsilon that is large beside the gradient, so that the gradient's size is seen in the step.
        optimizer = torch.optim.AdamW([parameter], lr=0.1, eps=10.0, weight_decay=0, fused=True)
        parameter.grad = torch.tensor(gradient)
        if scaling:
            torch_private.scale_next_step(optimizer, **scaling)
        optimizer.step()
        return parameter.item()

    divided = stepped(8.0, divisor=torch.tensor(4.0), skip=torch.tensor(0.0))
    assert divided == pytest.approx(stepped(2.0))
    assert divided != pytest.approx(stepped(8.0))
    assert stepped(8.0, divisor=torch.tensor(4.0), skip=torch.tensor(1.0)) == 1.0


def test_tensors_are_found_and_known_by_their_memory() -> None:
    tensor, other = torch.zeros(4, device="meta"), torch.zeros(4, device="meta")
    assert torch_private.tensors_in({"a": [tensor, 3], "b": (other,)}) == [tensor, other]
    assert torch_private.storage_key(tensor) == torch_private.storage_key(tensor[2:])
    assert torch_private.storage_key(tensor) != torch_private.storage_key(other)


def test_storage_that_is_gone_is_known_to_be_gone() -> None:
    tensor = torch.zeros(4)
    reference = torch_private.StorageWeakRef(tensor.untyped_storage())
    assert not reference.expired()
    del tensor
    assert reference.expired()


def test_every_operation_passes_a_dispatch_mode() -> None:
    class Recording(torch_private.TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Recording() as mode:
        torch.zeros(2).add(1)
    assert "aten.add.Tensor" in mode.seen
