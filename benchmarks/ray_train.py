"""What Ray Train costs: seconds at the start of a training, and its share of every step, in one run on this machine.

    python benchmarks/ray_train.py

The same training of random codes is run through Ray Train by one worker and, by turns, in a plain loop in a process of
its own, while no cluster is up. The figures are medians over the turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline import cluster
from pipeline.cluster import ClusterConfig
from pipeline.codes.table import Codes
from pipeline.execution.manifest import Inputs
from pipeline.presets.training import TRAINING
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.fit import fit
from pipeline.training.learners.generator import GeneratorLearner, TrainConfig
from pipeline.training.learners.learner import Training, take_step
from pipeline.training.output import GENERATOR_STAGE
from pipeline.training.ray_train import KEEP_MEMORY
from pipeline.training.step.batches import CodeBatch, Rows
from pipeline.training.step.ranks import Ranks

NUM_IMAGES, WARM_UP = 2000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(TRAINING), default="digits")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100, help="after ten that warm up")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", choices=["plain", "ray"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps({"plain": plainly, "ray": with_ray}[arguments.alone](configured(arguments))))
        return

    starts: dict[str, list[float]] = {"plain": [], "ray": []}
    steps: dict[str, list[float]] = {"plain": [], "ray": []}
    for _ in range(arguments.turns):
        for name in starts:
            command = [sys.executable, __file__, *sys.argv[1:], "--alone", name]
            environment = {**cluster.QUIET, **KEEP_MEMORY, **os.environ}  # Workers have these, too.
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            start, step = json.loads(output.splitlines()[-1])
            starts[name].append(start)
            steps[name].append(step)
            print(f"{name:5} {start:6.2f} s before the first step, {step:.4f} s a step", flush=True)

    start = statistics.median(starts["ray"]) - statistics.median(starts["plain"])
    share = statistics.median(steps["ray"]) / statistics.median(steps["plain"]) - 1
    print(f"{arguments.preset}, {arguments.rows} rows a step, {arguments.threads} threads, torch {torch.__version__}")
    print(f"Ray Train's start, in a cluster that is up: {start:.1f} s; its part of a step: {share:+.1%}")


def configured(arguments: argparse.Namespace) -> TrainConfig:
    return replace(
        TRAINING[arguments.preset](),
        out="unused",
        codes="unused",
        batch=arguments.rows,
        steps=WARM_UP + arguments.steps,
        cadence=Cadence(log_every=WARM_UP),
        workers=WorkersConfig(cpus=arguments.threads),
    )


class TimedLearner(GeneratorLearner):
    """Notes when its steps begin; what it says of itself travels with the metrics."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._beginnings: list[float] = []

    def micro_batch(self, rows: Rows, step: int) -> tuple[CodeBatch, float]:
        self._beginnings.append(time.time())
        return super().micro_batch(rows, step)

    def settings_at(self, step: int) -> dict[str, float]:
        warm = self._beginnings[WARM_UP:]
        return {"began": self._beginnings[0], "step_s": (warm[-1] - warm[0]) / (len(warm) - 1) if warm[1:] else 0.0}


def plainly(config: TrainConfig) -> tuple[float, float]:
    """Seconds before the first step, and of a step."""
    began = time.time()
    torch.set_num_threads(config.workers.cpus or 1)
    learner = TimedLearner(config, {"codes": random_codes(config)}, Ranks(), torch.device("cpu"))
    for step in range(config.steps):
        take_step(learner, step, seed=config.seed, rank=0)
    found = learner.settings_at(config.steps)
    return found["began"] - began, found["step_s"]


def with_ray(config: TrainConfig) -> tuple[float, float]:
    """The same, from the moment at which a cluster is up."""
    with tempfile.TemporaryDirectory() as folder, cluster.connect(ClusterConfig(address="local")):
        began = time.time()
        config, codes = replace(config, out=f"{folder}/out"), random_codes(config)
        training = Training(
            stage=GENERATOR_STAGE,
            config=config,
            build=TimedLearner,
            data={"codes": codes},
            recipe=config.recipe(),
            inputs=Inputs(len(codes.labels), "random"),
        )
        found = fit(training, None).metrics
        return found["train/began"] - began, found["train/step_s"]


def random_codes(config: TrainConfig) -> Codes:
    rng, shape = np.random.default_rng(0), config.model.codes
    packed = rng.integers(0, 256, (NUM_IMAGES, 1, shape.num_bytes), dtype=np.uint8)
    return Codes(rng.integers(0, config.model.num_classes, NUM_IMAGES, dtype=np.int32), packed)


if __name__ == "__main__":
    main()
