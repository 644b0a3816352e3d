"""Where the files of the repository lie."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
"""Golden outputs of the published model (`tests/golden/check.py`)."""
