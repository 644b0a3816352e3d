"""What Ray's core says of itself: the cluster that runs on this machine, and the processes of our own."""

from pathlib import Path

import pytest

from pipeline.ray_internals import cluster_processes, running_cluster

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.mark.ray
def test_the_processes_of_a_cluster_of_our_own_are_known(ray_here: str) -> None:
    processes = cluster_processes()
    assert processes
    assert all(process.poll() is None for process in processes)


@pytest.mark.long
def test_the_address_of_a_running_cluster_is_what_ray_start_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert running_cluster() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("192.0.2.7:6379")
    assert running_cluster() == "192.0.2.7:6379"
