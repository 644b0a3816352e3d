"""The names at the top of bar_model, and what importing it loads."""

import subprocess
import sys

import pytest

import bar_model
from bar_model.checkpoint import load
from bar_model.engine.engine import Engine
from bar_model.generator.sampling import Sampling


def test_what_notebooks_need_stands_at_the_top() -> None:
    assert (bar_model.load, bar_model.Engine, bar_model.Sampling) == (load, Engine, Sampling)
    with pytest.raises(AttributeError, match="no attribute 'save'"):
        _ = bar_model.save


def test_importing_it_loads_no_pytorch() -> None:
    code = "import sys, bar_model, bar_model.errors; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
