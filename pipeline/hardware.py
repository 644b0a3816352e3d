"""What does the work, in words: figures a second mean nothing without it."""

import platform
from pathlib import Path
from typing import Any

HARDWARE = "hardware"
"""Tag of a run that says it."""


def hardware(num_gpus: float) -> str:
    """So many of the cluster's GPUs, or all of its CPUs: "8 × H200", "2 CPUs (AMD EPYC)"; inside a Ray session."""
    import ray

    resources: dict[str, Any] = ray.cluster_resources()
    if num_gpus:
        kinds = sorted(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
        return f"{num_gpus:g} × {' or '.join(kinds) or 'GPU'}"
    return f"{resources.get('CPU', 0):g} CPUs ({_processor()})"


def _processor() -> str:
    """This machine's, as Linux calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
