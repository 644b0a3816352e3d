"""Who ran what, where, with which versions."""

import subprocess
import sys

from pipeline.tracking.provenance import provenance
from tests.harness.repository import REPOSITORY


def test_command_versions_and_commit_are_named() -> None:
    tags = provenance()
    assert tags["mlflow.source.name"] == sys.argv[0]
    assert tags["bar.version.python"] == sys.version.split()[0]
    assert tags["bar.version.torch"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert tags.get("mlflow.source.git.commit", "") == head.stdout.strip()
