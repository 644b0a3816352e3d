"""One Ray cluster for all tests that need no other: each start takes seconds."""

from collections.abc import Iterator

import pytest

from pipeline import cluster
from pipeline.cluster import ClusterConfig


@pytest.fixture(scope="session")
def ray_here(s3_server: str) -> Iterator[str]:
    """The address of a cluster of three CPUs that knows the S3 server; this process is connected to it."""
    with cluster.connect(ClusterConfig(address="local", num_cpus=3, object_store_gb=0.3)):
        import ray

        yield ray.get_runtime_context().gcs_address


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that start clusters of their own come first, while this process is connected to none."""
    items.sort(key=lambda item: "ray_here" in getattr(item, "fixturenames", ()))
