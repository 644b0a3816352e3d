"""Seconds of our training step beside the published one, on the same model and rows, in one run on this machine.

    python benchmarks/training_step.py bar-b --published DIR

DIR is a checkout of the published code. Both make the whole step: forward, backward, the gradient cut, AdamW. Ours also
gathers its rows from packed codes and draws order, masks and class drop from counters; the published step is handed its
tokens on the device. Each has a process of its own, ours with the environment that our workers get. They warm up and
then take turns; the figures are medians. Beside the ratio by the clock stands that by processor time, which other work
on the machine disturbs less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from counting import ceilings
from published_training import PublishedTraining, TokenBatch

from bar_model.blocks import arrange_blocks
from bar_model.generator.bar import Bar
from bar_model.operations import training_operations
from pipeline.cluster import QUIET
from pipeline.codes.table import Codes
from pipeline.presets.training import TRAINING
from pipeline.training.config import WorkersConfig
from pipeline.training.learners.generator import GeneratorLearner, TrainConfig
from pipeline.training.learners.learner import take_step
from pipeline.training.learners.order_annealing import OrderAnnealing
from pipeline.training.meter import peak_memory
from pipeline.training.ray_train import KEEP_MEMORY
from pipeline.training.step.ranks import Ranks

NUM_IMAGES, NUM_VIEWS = 10_000, 2
WARM_UPS = 3  # After the second one nothing is compiled any more.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(TRAINING))
    parser.add_argument("--published", help="checkout of the published code (else: our step alone)")
    parser.add_argument("--rows", type=int, help="of a step (default: the preset's micro-batch)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in-a-row", type=int, default=1, help="steps of a turn, for devices that run ahead")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--plain", action="store_true", help="compile neither step")
    parser.add_argument("--published-plain", action="store_true", help="do not compile the published step")
    parser.add_argument("--recompute", action="store_true", help="our blocks keep no activations")
    parser.add_argument("--alone", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        answer(CONTENDERS[arguments.alone](arguments), arguments.in_a_row)
        return

    names = ["published", "ours"] if arguments.published else ["ours"]
    contenders = {name: Contender(name) for name in names}
    medians = by_turns(contenders, arguments.repeats)
    facts = {name: contender.ask("facts") for name, contender in contenders.items()}["ours"]

    rows, own = facts["rows"], medians["ours"]
    print(f"{arguments.preset}, {rows} rows a step, {arguments.precision}, {facts['place']}, torch {torch.__version__}")
    if arguments.published:
        theirs = medians["published"]
        print(f"published ÷ ours: {theirs.clock / own.clock:.2f}; processor: {theirs.processor / own.processor:.2f}")
    operations = facts["operations"] * rows / own.clock
    print(f"{rows / own.clock:,.1f} rows/s, {facts['memory'] / 2**30:.1f} GiB at the peak")
    print(
        f"{operations / 1e12:.3g} TFLOP/s, {operations / facts['ceiling']:.1%} of the "
        f"{facts['ceiling'] / 1e12:.3g} measured with large matrices"
    )


class Seconds(NamedTuple):
    """Of a step."""

    clock: float
    processor: float


class Contender:
    """A step in a process of its own, which waits while it is not asked."""

    def __init__(self, name: str) -> None:
        environment = {**QUIET, **os.environ}
        if name == "ours" and not torch.cuda.is_available():
            environment |= KEEP_MEMORY
        self._process = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--alone", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args}: ended with code {self._process.wait()}")
        return json.loads(line)


def by_turns(contenders: dict[str, Contender], repeats: int) -> dict[str, Seconds]:
    """Medians of each step."""
    timings: dict[str, list[Seconds]] = {name: [] for name in contenders}
    for turn in range(-WARM_UPS, repeats):
        for name, contender in contenders.items():
            seconds = Seconds(*contender.ask("step"))
            if turn >= 0:
                timings[name].append(seconds)
            print(f"{name:12} {seconds.clock:9.4f} s a step{'' if turn >= 0 else ' (warm-up)'}", flush=True)
    return {name: Seconds(*map(statistics.median, zip(*found, strict=True))) for name, found in timings.items()}


class Steps(NamedTuple):
    """A contender in its own process."""

    step: Callable[[], object]
    facts: Callable[[], dict[str, Any]]


def answer(steps: Steps, in_a_row: int) -> None:
    """One line to every one that is read."""
    told, sys.stdout = sys.stdout, sys.stderr  # What libraries print is no answer.
    for question in sys.stdin:
        found = timed(steps.step, in_a_row) if question == "step\n" else steps.facts()
        print(json.dumps(found), file=told, flush=True)


def timed(step: Callable[[], object], in_a_row: int) -> Seconds:
    began, at_work = time.perf_counter(), time.process_time()
    for _ in range(in_a_row):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Seconds((time.perf_counter() - began) / in_a_row, (time.process_time() - at_work) / in_a_row)


def ours(arguments: argparse.Namespace) -> Steps:
    device, config = here(), configured(arguments)
    learner = GeneratorLearner(config, {"codes": random_codes(config)}, Ranks(), device)
    arrange_blocks(learner.trainees[0].model, compiled=config.workers.compiled, recompute=config.workers.recompute)

    def facts() -> dict[str, Any]:
        memory = peak_memory(device)
        most = ceilings(device, torch.bfloat16 if config.precision == "bfloat16" else torch.float32)
        return {
            "rows": config.batch,
            "memory": memory,
            "operations": training_operations(learner.result()),
            "ceiling": most.operations_a_second,
            "place": torch.cuda.get_device_name()
            if device.type == "cuda"
            else f"{torch.get_num_threads()} threads of a CPU",
        }

    return Steps(Ours(learner, config).step, facts)


def published(arguments: argparse.Namespace) -> Steps:
    device, config = here(), configured(arguments)
    theirs = PublishedTraining(
        arguments.published,
        Bar(config.model),
        config.optimization,
        on=device,
        precision=config.precision,
        compiled=not arguments.plain and not arguments.published_plain,
    )
    batch = token_batch(random_codes(config), config, device)
    return Steps(lambda: theirs.step(batch), dict)


CONTENDERS: dict[str, Callable[[argparse.Namespace], Steps]] = {"ours": ours, "published": published}


def here() -> torch.device:
    """The device, set up as the published script does."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def configured(arguments: argparse.Namespace) -> TrainConfig:
    preset = TRAINING[arguments.preset]()
    given = preset.workers.micro_batch
    return replace(
        preset,
        out="unused",
        codes="unused",
        steps=1_000_000,
        batch=arguments.rows or (given if isinstance(given, int) else preset.batch),
        precision=arguments.precision,
        order=OrderAnnealing(random_until=1.0, raster_from=1.0),
        workers=WorkersConfig(compiled=not arguments.plain, recompute=arguments.recompute),
    )


class Ours:
    """The steps of a training, one after the other."""

    def __init__(self, learner: GeneratorLearner, config: TrainConfig) -> None:
        self._learner = learner
        self._config = config
        self._next = 0

    def step(self) -> None:
        take_step(self._learner, self._next, seed=self._config.seed, rank=0)
        self._next += 1


def random_codes(config: TrainConfig) -> Codes:
    rng, shape = np.random.default_rng(0), config.model.codes
    packed = rng.integers(0, 256, (NUM_IMAGES, NUM_VIEWS, shape.num_bytes), dtype=np.uint8)
    return Codes(rng.integers(0, config.model.num_classes, NUM_IMAGES, dtype=np.int32), packed)


def token_batch(codes: Codes, config: TrainConfig, device: torch.device) -> TokenBatch:
    """The published way to hold the first rows: 64 bits each."""
    bits = np.unpackbits(codes.packed[: config.batch, 0], axis=-1)[:, : config.model.codes.num_bits]
    labels = torch.from_numpy(codes.labels[: config.batch]).long()
    return TokenBatch(tokens=torch.from_numpy(bits).long().to(device), labels=labels.to(device))


if __name__ == "__main__":
    main()
