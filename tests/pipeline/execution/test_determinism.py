"""One thread on a CPU, and what has changed is refused."""

import pytest
import torch

from bar_model.errors import BadInput
from pipeline.execution.determinism import check_unchanged, one_thread, use_one_thread


def test_a_block_on_a_cpu_has_one_thread() -> None:
    torch.set_num_threads(2)
    with one_thread("cuda"):
        assert torch.get_num_threads() == 2
    with one_thread(torch.device("cpu")):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    use_one_thread("cpu")
    assert torch.get_num_threads() == 1


def test_what_has_changed_is_refused() -> None:
    check_unchanged("s3://bucket/model", "a", "a")
    with pytest.raises(BadInput, match=r"^s3://bucket/model: has changed since the run began"):
        check_unchanged("s3://bucket/model", "b", "a")
