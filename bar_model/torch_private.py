"""PyTorch's private interfaces: all that this project uses of them, each with the public way where there is one.

An upgrade of PyTorch may change any of them. tests/bar_model/test_torch_private.py names them all and fails first.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

__all__ = [
    "StorageWeakRef",
    "TorchDispatchMode",
    "lerp_all",
    "mkldnn_has_bfloat16",
    "mkldnn_linear",
    "mkldnn_weight",
    "recompute_in_backward",
    "scale_next_step",
    "split_no_graph_for_ddp",
    "storage_key",
    "tensors_in",
]


def recompute_in_backward(block: nn.Module) -> None:
    """Make a block keep its input alone in training, and run forward once more on the way back.

    The public ways do not serve here. A changed `forward` would be copied with the block, still bound to the original,
    and a wrapping module would change the names of the parameters. `Module.__call__` looks up `_compiled_call_impl`
    first, and copies of a module are made without it.
    """
    call = block._compiled_call_impl or block._call_impl
    block._compiled_call_impl = partial(checkpoint, call, use_reentrant=False)


def split_no_graph_for_ddp() -> None:
    """Keep torch.compile from splitting graphs where DDP exchanges gradients; there is no public switch.

    Only single blocks are compiled here. A block is no more than what DDP exchanges at once: a split gains nothing.
    """
    torch._dynamo.config.optimize_ddp = False


def mkldnn_has_bfloat16() -> bool:
    """Whether oneDNN multiplies in bfloat16 on this processor; the public interface only says whether it is there."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def mkldnn_weight(weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    """The weight of a linear layer in the order in which oneDNN's kernels read it.

    The public way is `torch.utils.mkldnn.to_mkldnn`, whose layers also convert every input and output.
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)


def mkldnn_linear(
    x: Float[Tensor, "*batch inputs"], weight: Tensor, bias: Float[Tensor, " outputs"] | None
) -> Float[Tensor, "*batch outputs"]:
    """The product of `x` and a weight that `mkldnn_weight` reordered; in public, `torch.nn.functional.linear`."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def lerp_all(averages: list[Tensor], values: list[Tensor], share: Float[Tensor, ""]) -> None:
    """Move every average by this share of its distance to its value, in place and in one launch.

    In public it is one `Tensor.lerp_` for each pair, with one launch each.
    """
    torch._foreach_lerp_(averages, values, [share] * len(values))  # pyright: ignore[reportPrivateImportUsage]


def scale_next_step(optimizer: torch.optim.Optimizer, *, divisor: Float[Tensor, ""], skip: Float[Tensor, ""]) -> None:
    """Make a fused optimizer divide its gradients in its next step, or skip the step where `skip` is 1.

    Both stay on the device, so that nothing waits for them. In public, only `torch.amp.GradScaler` sets these two
    attributes; it chooses the divisor itself and knows nothing of gradient norms.
    """
    optimizer.grad_scale = divisor  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue]


def tensors_in(tree: object) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries, as PyTorch itself walks them."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def storage_key(tensor: Tensor) -> int:
    """A number that two tensors share where they share memory; `data_ptr`, the public one, is 0 without data."""
    return tensor.untyped_storage()._cdata
