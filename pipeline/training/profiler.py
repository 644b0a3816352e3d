"""A few steps of a training as torch's profiler sees them, for chrome://tracing or Perfetto."""

import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from pipeline.storage import Folder
from pipeline.tracking.run import Run
from pipeline.training.config import TRACED_STEPS, TrainingConfig
from pipeline.training.step.ranks import Ranks

FOLDER = "traces"
"""Name of the folder of traces below the output folder of a training."""


class StepProfiler:
    """Traces the first rank's steps from `cadence.trace_at` on, once; it does nothing where that is 0."""

    def __init__(self, config: TrainingConfig, ranks: Ranks, run: Run | None) -> None:
        """The trace is written below `config.out` and, where there is a run, kept with it."""
        self._at = config.cadence.trace_at if ranks.rank == 0 else 0
        self._out = config.out
        self._run = run
        self._profile: profile | None = None

    def advance(self, num_done: int) -> None:
        """Begins, continues or ends the trace; to be called after each step with the number of steps done."""
        if self._at and num_done == self._at:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._profile = profile(
                activities=activities,
                schedule=torch.profiler.schedule(wait=0, warmup=1, active=TRACED_STEPS, repeat=1),
                on_trace_ready=self._keep,
                record_shapes=True,
            )
            self._profile.start()
        elif self._profile is not None:
            self._profile.step()
            if num_done == self._at + 1 + TRACED_STEPS:
                self._profile.stop()
                self._profile = None

    def _keep(self, found: profile) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"steps-{self._at + 2}-{self._at + 1 + TRACED_STEPS}.json.gz"
            found.export_chrome_trace(str(file))
            name, data = f"{FOLDER}/{file.name}", file.read_bytes()
        Folder(self._out).write(name, data)
        if self._run is not None:
            self._run.artifact(name, data)
