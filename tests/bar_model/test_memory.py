import pytest
import torch

from bar_model.memory import available_bytes, peak_bytes, readable_bytes, total_bytes


def test_free_memory_is_a_part_of_all() -> None:
    cpu = torch.device("cpu")
    assert 0 < available_bytes(cpu) < total_bytes(cpu)


def test_the_peak_counts_what_lives_at_once_and_each_storage_once() -> None:
    kept = torch.zeros(1000)

    def work() -> None:
        first = kept + 1  # 4,000 bytes
        assert first[10:].view(-1).sum() > 0  # Views take nothing; the sum takes a few bytes for a moment.
        del first
        second = torch.zeros(500)  # 2,000 bytes
        third = second.double()  # 4,000 bytes
        del second, third

    assert peak_bytes(work) == 6000


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1.02e+03 B"), (1536, "1.5 KiB"), (3 * 2**30 + 2**27, "3.12 GiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert readable_bytes(count) == text
