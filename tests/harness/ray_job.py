"""A job for test_cluster.py: says where a driver and its worker found the code."""

import sys
from pathlib import Path

import pipeline
from bar_model.errors import BadInput
from pipeline import cluster


def code() -> str:
    """The folder that this process runs, and how many of the cluster's own copies it could."""
    brought = sum("py_modules_files" in folder for folder in sys.path)
    return f"{Path(pipeline.__file__).parent} {brought}"


def main() -> None:
    with cluster.connect(cluster.ClusterConfig()):
        import ray

        print(f"driver {code()}")
        print(f"worker {ray.get(ray.remote(code).remote())}")


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        print(f"refused {error}")
