"""Seconds of our training step beside the published one, on the same model and rows, in one run on this machine.

    python benchmarks/training_step.py bar-b --published DIR

DIR is a checkout of the published code. Both make the whole step: forward, backward, the gradient cut, AdamW. Ours also
gathers its rows from packed codes and draws order, masks and class drop from counters; the published step is handed its
tokens on the device. They warm up and then take turns; the figures are medians. Beside the ratio by the clock stands
that by processor time, which other work on the machine disturbs less.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from counting import ceilings
from published_training import PublishedTraining, TokenBatch

from bar_model.blocks import arrange_blocks
from bar_model.operations import training_operations
from pipeline.batches import Codes
from pipeline.learner import take_step
from pipeline.meter import peak_memory
from pipeline.optimization import OrderAnnealing
from pipeline.players import Ranks
from pipeline.presets import TRAINING
from pipeline.train import GeneratorLearner, TrainConfig
from pipeline.training import WorkersConfig

NUM_IMAGES, NUM_VIEWS = 10_000, 2
Step = Callable[[], object]


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
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # As the published script.
    torch.manual_seed(0)
    preset = TRAINING[arguments.preset]()
    rows = arguments.rows or preset.workers.micro_batch or preset.batch
    config = replace(
        preset,
        out="unused",
        codes="unused",
        steps=1_000_000,
        batch=rows,
        precision=arguments.precision,
        order=OrderAnnealing(random_until=1.0, raster_from=1.0),
        workers=WorkersConfig(compiled=not arguments.plain, recompute=arguments.recompute),
    )
    codes = random_codes(config)
    learner = GeneratorLearner(config, {"codes": codes}, Ranks(), device)
    arrange_blocks(learner.players[0].model, compiled=config.workers.compiled, recompute=config.workers.recompute)
    ours = Ours(learner, config)
    steps: dict[str, Step] = {"ours": ours.step}
    timed(ours.step, arguments.in_a_row, device)
    timed(ours.step, arguments.in_a_row, device)  # The second one compiles nothing any more.
    memory = peak_memory(device)
    if arguments.published:
        compiled = not arguments.plain and not arguments.published_plain
        theirs = PublishedTraining(
            arguments.published,
            learner.result(),
            config.optimization,
            on=device,
            precision=config.precision,
            compiled=compiled,
        )
        batch = token_batch(codes, config, device)
        steps = {"published": lambda: theirs.step(batch)} | steps
    medians = by_turns(steps, arguments.repeats, arguments.in_a_row, device)

    place = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    print(f"{arguments.preset}, {rows} rows a step, {config.precision}, {place}, torch {torch.__version__}")
    if arguments.published:
        published, own = medians["published"], medians["ours"]
        print(
            f"published ÷ ours: {published.clock / own.clock:.2f}; processor: {published.processor / own.processor:.2f}"
        )
    most = ceilings(device, torch.bfloat16 if config.precision == "bfloat16" else torch.float32)
    rows_per_s = rows / medians["ours"].clock
    operations = training_operations(learner.result()) * rows_per_s
    print(f"{rows_per_s:,.1f} rows/s, {memory / 2**30:.1f} GiB at the peak")
    print(
        f"{operations / 1e12:.3g} TFLOP/s, {operations / most.operations_a_second:.1%} of the "
        f"{most.operations_a_second / 1e12:.3g} measured with large matrices"
    )


class Seconds(NamedTuple):
    """Of a step."""

    clock: float
    processor: float


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


def by_turns(steps: dict[str, Step], repeats: int, in_a_row: int, device: torch.device) -> dict[str, Seconds]:
    """Medians of each step."""
    timings: dict[str, list[Seconds]] = {name: [] for name in steps}
    for turn in range(-1, repeats):
        for name, step in steps.items():
            seconds = timed(step, in_a_row, device)
            if turn >= 0:
                timings[name].append(seconds)
            print(f"{name:12} {seconds.clock:9.4f} s a step{'' if turn >= 0 else ' (warm-up)'}", flush=True)
    return {name: Seconds(*map(statistics.median, zip(*found, strict=True))) for name, found in timings.items()}


def timed(step: Step, in_a_row: int, device: torch.device) -> Seconds:
    began, at_work = time.perf_counter(), time.process_time()
    for _ in range(in_a_row):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Seconds((time.perf_counter() - began) / in_a_row, (time.process_time() - at_work) / in_a_row)


if __name__ == "__main__":
    main()
