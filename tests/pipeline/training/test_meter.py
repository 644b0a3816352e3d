"""What steps take, by a clock that the test sets."""

from types import SimpleNamespace

import pytest
import torch

from pipeline.training import meter
from pipeline.training.meter import Meter, peak_operations


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(meter.time, "perf_counter", lambda: clock.now)
    return clock


def test_rows_and_waiting_count_and_pauses_do_not(clock: SimpleNamespace) -> None:
    metered = Meter(batch=8, device=torch.device("cpu"), num_devices=1)

    def items():
        for item in (1, 2):
            clock.now += 0.5
            yield item

    for _ in range(2):  # The second reading knows nothing of the first.
        seen = []
        for item in metered.waiting(items()):
            clock.now += 1.5
            seen.append(item)
        with metered.pausing():
            clock.now += 1000
        found = metered.read([10**12] * 3)
        assert seen == [1, 2]
        assert found["rows_per_s"] == pytest.approx(3 * 8 / 4)
        assert found["data_share"] == pytest.approx(0.25)
        assert 0.05 < found["memory_gib"] < 64
        assert "mfu" not in found


def test_mfu_is_of_all_devices(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30)
    metered = Meter(batch=16, device=torch.device("cuda"), num_devices=4)
    clock.now += 2
    found = metered.read([10**12, 3 * 10**12] * 5)  # Trainees in turns.
    assert found["mfu"] == pytest.approx(5 * 16 * 4e12 / 2 / (4 * 989e12))
    assert found["memory_gib"] == 1


def test_a_device_is_known_by_its_name() -> None:
    names = {
        "NVIDIA H200": 989e12,
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA L4": 121e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA GeForce RTX 4090": 165e12,
        "NVIDIA GeForce RTX 4090 Laptop GPU": None,
        "NVIDIA A100-SXM4-80GB MIG 1g.10gb": None,
        "Tesla T4": None,
    }
    assert {name: peak_operations(name) for name in names} == names
