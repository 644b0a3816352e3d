"""What every test stands on: shapes checked at run time, fixed seeds, no word to the outside."""

import os
import random
import sys

import jaxtyping
import numpy as np
import pytest
import torch

# Read by the libraries when they are imported, here and in every process that a test starts.
os.environ.update(
    HF_HUB_OFFLINE="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    MPLBACKEND="Agg",
    RAY_USAGE_STATS_ENABLED="0",
)

if "bar_model" in sys.modules:
    raise RuntimeError("bar_model was imported before its shapes could be checked: import it after conftest.py")
jaxtyping.install_import_hook("bar_model", "beartype.beartype")


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """The same random numbers for a test alone as in the whole run; one thread, where models are tiny."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (third-party code draws from the global generator)
    torch.manual_seed(0)
    full_size = request.node.get_closest_marker("slow") is not None
    torch.set_num_threads((os.cpu_count() or 1) if full_size else 1)
