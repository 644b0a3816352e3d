"""What kills do to tokenizing: the same pictures with and without them, on several raylets and an S3 that fails.

python -m tests.system.chaos [SEED]        a table of the faults, and what they cost (`make chaos`)
"""

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.killable_cluster import RAY_ENVIRONMENT, KillableCluster, Kills, environment
from tests.harness.repository import REPOSITORY

if TYPE_CHECKING:
    from pipeline.codes.tokenize import TokenizeConfig

CALM, DISTURBED = "s3://chaos/calm", "s3://chaos/disturbed"
NUM_IMAGES, UNIT_SIZE = 160, 2
FAULT_RATE = 0.04
"""Share of requests to S3 that fail."""
KILLS = Kills(
    worker="actor",
    process="MapWorker",
    moments=range(1, NUM_IMAGES // UNIT_SIZE * 4 // 5),
    when="{:>4} shards done",
    driver_may_fail=True,  # By a fault of the store that outlasts all retries.
)
RAYLET: dict[str, Any] = {"num_cpus": 2, "memory": 3 * 10**9, "object_store_memory": 10**8}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 3}}),
    **RAY_ENVIRONMENT,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the disturbed run made, beside the undisturbed one."""

    kills: list[tuple[str, int]] = field(default_factory=list)
    """What was killed, and how many of the shards were there."""
    storage_faults: dict[str, int] = field(default_factory=dict)
    rows_expected: int
    rows_found: int
    rows_doubled: int
    shards_that_differ: int
    units_done_again: int
    problems: list[str]

    def table(self) -> str:
        rows = [("fault", "when"), *((f"SIGKILL to {kind}", f"{done} shards done") for kind, done in self.kills)]
        rows += [(f"S3: {kind}", f"{num} times") for kind, num in sorted(self.storage_faults.items())]
        rows += [
            ("rows expected / found / doubled", f"{self.rows_expected} / {self.rows_found} / {self.rows_doubled}"),
            ("shards that differ by a bit", str(self.shards_that_differ)),
            ("finished units read again", str(self.units_done_again)),
            ("what --verify finds", "; ".join(self.problems) or "nothing"),
        ]
        return "\n".join(f"{name:<34} {value}" for name, value in rows)


def run(seed: int) -> Outcome:
    """Tokenizes once in peace and once under kills and faults."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True)))
        # Its own place for Ray's files, too: else whoever looks for a cluster on this machine would join this one.
        stack.enter_context(environment(**ENVIRONMENT, RAY_TMPDIR=str(folder)))
        stack.enter_context(_no_connections())
        store, proxy = stack.enter_context(_s3(folder, seed))
        model = _prepare(folder, store)
        os.environ["AWS_ENDPOINT_URL"] = store
        _tokenize_in_peace(model)
        os.environ["AWS_ENDPOINT_URL"] = proxy
        cluster = stack.enter_context(KillableCluster.started(num_raylets=2, **RAYLET))
        command = [sys.executable, "-m", "tests.system.chaos", "drive", cluster.address, model]
        log = folder / "driver.log"
        try:
            _set_rate(proxy, FAULT_RATE)
            kills = KILLS.disturb(cluster, command, log, partial(_num_shards, store), chance)
            faults = _set_rate(proxy, 0)
            return _compare(store, folder / "requests", kills, faults)
        except BaseException:
            print(log.read_text()[-6000:], file=sys.stderr)
            raise


def drive(address: str, model: str) -> None:
    """The driver that is killed, or not."""
    from pipeline.cluster import ClusterConfig, connect
    from pipeline.codes.tokenize import tokenize

    with connect(ClusterConfig(address=address)):
        tokenize(_config(model, DISTURBED))


def _tokenize_in_peace(model: str) -> None:
    """The same units one after the other, without Ray, without a fault: what must come out."""
    from pipeline.codes.plan import plan_units
    from pipeline.codes.tokenize import describe_codes, encoding_work
    from pipeline.execution.unit import finish_unit
    from pipeline.images.open_source import open_source
    from pipeline.storage import Folder

    config = _config(model, CALM)
    source, folder = open_source(config.source), Folder(config.out)
    work = encoding_work(config, source, describe_codes(model, config.views), "cpu")
    step = work.build()
    for unit in plan_units(folder, work.stage, {}, source, UNIT_SIZE, on_change="stop"):
        finish_unit(folder, work, unit, step(work.read(unit)))


def _config(model: str, out: str) -> "TokenizeConfig":
    from pipeline.codes.tokenize import TokenizeConfig

    return TokenizeConfig(
        source="s3://chaos/images",
        tokenizer=model,
        out=out,
        views=("crop", "flip"),
        unit_size=UNIT_SIZE,
        batch_size=4,
        workers=2,
        device="cpu",
    )


def _compare(store: str, requests: Path, kills: list[tuple[str, int]], faults: dict[str, int]) -> Outcome:
    from pipeline.codes.folder import read_codes, verify
    from pipeline.storage import Folder

    os.environ["AWS_ENDPOINT_URL"] = store
    calm, disturbed = Folder(CALM), Folder(DISTURBED)
    shards = [{entry.name: folder.read(entry.name) for entry in folder.list("codes-*")} for folder in (calm, disturbed)]
    keys = read_codes(disturbed.url).keys
    return Outcome(
        kills=kills,
        storage_faults=faults,
        rows_expected=NUM_IMAGES,
        rows_found=len(set(keys)),
        rows_doubled=len(keys) - len(set(keys)),
        shards_that_differ=sum(shards[0].get(name) != shards[1].get(name) for name in {*shards[0], *shards[1]}),
        units_done_again=_units_done_again(requests, disturbed.url),
        problems=verify(disturbed.url),
    )


def _units_done_again(requests: Path, out: str) -> int:
    """Units of which a picture was read after their shard was put in place: counted at the store's door."""
    from pipeline.codes.plan_files import read_plans, read_unit
    from pipeline.storage import Folder

    folder = Folder(out)
    unit_of, shard_of = {}, {}
    for unit in (unit for plan in read_plans(folder) for unit in plan.units()):
        shard_of[f"codes-{unit.index:06d}-{unit.digest}.parquet"] = unit.index
        unit_of.update({f"/chaos/images/{picture.key}": unit.index for picture in read_unit(folder, unit)})
    finished: set[int] = set()
    again: set[int] = set()
    for method, path, status in map(json.loads, requests.read_text().splitlines()):
        if status >= 300:
            continue
        if method == "PUT" and path.startswith("/chaos/disturbed/codes-"):
            finished.add(shard_of[path.rpartition("/")[2]])
        elif method == "GET" and unit_of.get(path) in finished:
            again.add(unit_of[path])
    return len(again)


def _prepare(folder: Path, store: str) -> str:
    """Pictures in the store, and a tokenizer that is small but real."""
    import boto3
    import numpy as np
    import torch

    from bar_model import checkpoint, presets
    from bar_model.tokenizer.tokenizer import Tokenizer
    from pipeline.images.codec import to_png

    torch.manual_seed(0)
    checkpoint.save(Tokenizer(presets.TOKENIZERS["digits"]()), folder / "tokenizer")
    client = boto3.client("s3", endpoint_url=store)
    client.create_bucket(Bucket="chaos")
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        client.put_object(Bucket="chaos", Key=f"images/{number % 10}/{number:04d}.png", Body=to_png(image))
    return str(folder / "tokenizer")


def _num_shards(store: str) -> int:
    import boto3

    listed = boto3.client("s3", endpoint_url=store).list_objects_v2(Bucket="chaos", Prefix="disturbed/codes-")
    return listed["KeyCount"]


@contextmanager
def _no_connections() -> Iterator[None]:
    """Neither from before nor, afterwards, to a store that is gone."""
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        yield
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@contextmanager
def _s3(folder: Path, seed: int) -> Iterator[tuple[str, str]]:
    """The endpoints of a store and of the proxy before it, each a process of its own."""
    ports = [_free_port() for _ in range(2)]
    store, proxy = (f"http://127.0.0.1:{port}" for port in ports)
    commands = [
        ("moto.server", "-H", "127.0.0.1", "-p", str(ports[0])),
        ("tests.harness.faulty_s3", str(ports[1]), store, str(folder / "requests"), str(seed)),
    ]
    with (folder / "s3.log").open("wb") as log:
        servers = [
            subprocess.Popen([sys.executable, "-m", *command], cwd=REPOSITORY, stdout=log, stderr=log)
            for command in commands
        ]
    try:
        for port in ports:
            _await_port(port)
        yield store, proxy
    finally:
        for server in servers:
            server.kill()
            server.wait()


def _set_rate(proxy: str, rate: float) -> dict[str, int]:
    with urllib.request.urlopen(f"{proxy}/faults/{rate}") as answer:
        return json.load(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(*sys.argv[2:])
    else:
        print(run(int(sys.argv[1]) if len(sys.argv) > 1 else 0).table())
