"""Drawing: any number of workers, and whatever is killed, gives the same files."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.samples.sample import SampleConfig, sample
from pipeline.storage import Folder
from tests.harness.drawn import digests, save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling", "tests.harness.fixtures_ray"]


DRIVER = """
import sys
from pipeline.cluster import ClusterConfig, connect
from pipeline.samples.sample import SampleConfig, sample
address, generator, tokenizer, out, images, workers = sys.argv[1:]
with connect(ClusterConfig(address=address, num_cpus=int(workers) + 1, object_store_gb=0.3)):
    sample(
        SampleConfig(
            generator=generator,
            tokenizer=tokenizer,
            out=out,
            num_images=int(images),
            batch_size=4,
            unit_size=4,
            workers=int(workers),
            images="webp",
            files=True,
        )
    )
"""


def start_driver(config: SampleConfig, address: str) -> subprocess.Popen[bytes]:
    """A process that draws the same with one worker, or with as many as the configuration says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    settings = (config.generator, config.tokenizer, config.out, str(config.num_images), str(config.workers))
    return subprocess.Popen([sys.executable, "-c", DRIVER, address, *settings], env=environment)


def wait_for_shards(config: SampleConfig, num: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while len(digests(config)) < num:
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_a_worker(config: SampleConfig, num: int, stop: threading.Event, killed: list[int]) -> None:
    """SIGKILL to one of the actors of this process's cluster, once there are so many shards."""
    wait_for_shards(config, num, lambda: not stop.is_set())
    workers = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(one.cmdline())]
    workers[0].kill()
    killed.append(workers[0].pid)


def files_of(folder: Folder) -> dict[str, str]:
    return {
        name: hashlib.sha256(folder.read(name)).hexdigest() for name, *_ in folder.walk() if not name.endswith(".json")
    }


@pytest.mark.ray
def test_any_workers_and_any_death_give_the_same_files(config: SampleConfig, ray_here: str) -> None:
    """A driver is killed, two workers take over what it left, with holes in it, and one of those is killed, too."""
    config = replace(config, num_images=120, unit_size=4, images="webp", files=True, workers=1)
    undisturbed = save(replace(config, out=f"{config.out}-undisturbed"))

    driver = start_driver(config, ray_here)
    wait_for_shards(config, 4, lambda: driver.poll() is None)
    driver.kill()
    driver.wait()
    left = digests(config)
    assert len(left) < 20
    for name in list(left)[:2]:
        Path(config.out, name).unlink()

    stop, killed = threading.Event(), []
    killer = threading.Thread(target=kill_a_worker, args=(config, len(left) + 2, stop, killed))
    killer.start()
    manifest = sample(replace(config, workers=2))
    stop.set()
    killer.join()
    assert len(killed) == 1
    assert manifest.files == undisturbed.manifest.files
    assert files_of(Folder(config.out)) == files_of(undisturbed.folder)


@pytest.mark.slow
def test_four_workers_give_the_same_files(config: SampleConfig) -> None:
    config = replace(config, num_images=120, unit_size=4, images="webp", files=True, workers=4)
    undisturbed = save(replace(config, out=f"{config.out}-undisturbed"))
    driver = start_driver(config, "local")
    assert driver.wait() == 0
    assert files_of(Folder(config.out)) == files_of(undisturbed.folder)
