"""What a long drawing costs its driver: memory, Ray objects and files, on real Ray with real files.

    python benchmarks/sampling_scale.py --images 5000000

The models are a stub that makes tiny pictures at once; all else is what `jobs/sample_images.py` runs. The shards lie in
a temporary folder, which is removed in the end.
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import psutil

from bar_model.bits import CodeShape
from bar_model.configuration import plain
from bar_model.generator.sampling import Sampling
from pipeline import cluster
from pipeline.cluster import ClusterConfig
from pipeline.execution.ray_data import Workers
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Row
from pipeline.samples.encoding import Encoding, Keeping
from pipeline.samples.labels import LabelSchedule, make_schedule
from pipeline.samples.sample import drawing_work, plan
from pipeline.samples.shard import Drawing
from pipeline.storage import Folder

SIZE, NUM_BYTES = 4, 8
LOOKS = 20


@dataclass(frozen=True)
class Stub:
    """`indices` (N,) -> what is drawn of them, without a model."""

    labels: LabelSchedule

    def __call__(self, row: Row) -> Row:
        indices: np.ndarray = row["indices"]
        images = np.broadcast_to((indices % 251).astype(np.uint8)[:, None, None, None], (len(indices), SIZE, SIZE, 3))
        codes = indices[:, None].view(np.uint8)
        return {"indices": indices, "labels": self.labels.of(indices), "images": images, "codes": codes}


class Observer(threading.Thread):
    """Looks at this process and the folder as the number of files grows, and prints what it sees."""

    def __init__(self, folder: Folder, num_units: int) -> None:
        super().__init__(daemon=True)
        self._folder, self._num_units = Path(folder.url), num_units
        self._process, self._began = psutil.Process(), time.monotonic()
        self.ended = threading.Event()

    def run(self) -> None:
        print("  units  minutes  driver RSS, MB  Ray objects  files", flush=True)
        wanted = 0.0
        while not self.ended.wait(0.5):
            num = sum(1 for _ in self._folder.glob("samples-*"))
            if num >= wanted:
                self.look(num)
                wanted = num + self._num_units / LOOKS

    def look(self, num: int) -> None:
        from ray._private.worker import global_worker

        minutes = (time.monotonic() - self._began) / 60
        objects = len(global_worker.core_worker.get_all_reference_counts())  # pyright: ignore[reportAttributeAccessIssue]
        files = sum(1 for path in self._folder.rglob("*"))
        rss = self._process.memory_info().rss / 1e6
        print(f"{num:7,}  {minutes:7.1f}  {rss:14,.0f}  {objects:11,}  {files:5,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000_000)
    parser.add_argument("--unit-size", type=int, default=500)
    parser.add_argument("--images-as", choices=get_args(Encoding), default="raw")
    arguments = parser.parse_args()
    labels = make_schedule(None, None, num_classes=1000)
    drawing = Drawing(
        generator="stub",
        tokenizer="stub",
        codes=CodeShape(grid=8, bits=1),
        image_size=SIZE,
        seed=0,
        labels=labels.schedule,
        sampling=Sampling(guidance_scale=1.0, temperature=1.0, allocation=(1,)),
        batch_size=arguments.unit_size,
        precision="float32",
        device="cpu",
    )
    units = list(plan(0, arguments.images, arguments.unit_size))
    with tempfile.TemporaryDirectory() as temporary, cluster.connect(ClusterConfig(address="local")):
        folder = Folder(temporary)
        observer = Observer(folder, len(units))
        observer.start()
        manifest = run_units(
            folder,
            drawing_work(drawing, Keeping(encoding=arguments.images_as), build=partial(Stub, labels)),
            units,
            configuration={"drawing": plain(drawing)},
            workers=Workers(num=1),
        )
        observer.ended.set()
        observer.join()
        observer.look(len(units))
        print(f"{manifest.rows:,} images, {manifest.num_bytes / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
