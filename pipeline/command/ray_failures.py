"""What Ray says when a cluster, and not this program, is at fault, in one line: what happened and what to do.

Ray is not imported for it: its errors are known by the names of their classes.
"""

from collections.abc import Iterator

from bar_model.errors import WorkFailed, one_line

AGAIN = "the same command goes on where it stopped"
_FAULTS = {
    "OutOfMemoryError": "a machine had too little memory, so Ray ended a worker: use fewer workers, or smaller units "
    f"and batches; {AGAIN}",
    "ObjectStoreFullError": "Ray's object store is full: enlarge it (cluster.object_store_gb, or --object-store-memory "
    f"of `ray start`), or use fewer workers; {AGAIN}",
    "OutOfDiskError": f"the disk where Ray keeps its files is full: free some, or name another in RAY_TMPDIR; {AGAIN}",
    "LocalRayletDiedError": f"Ray's process on this machine has died: start the cluster again; {AGAIN}",
    "NodeDiedError": f"a machine of the cluster is gone: {AGAIN}",
    "WorkerCrashedError": f"a worker process has died, as from lack of memory or a kill: {AGAIN}",
    "RayActorError": f"a worker process has died, as from lack of memory or a kill: {AGAIN}",
    "ObjectLostError": f"what a worker had made was lost with its machine: {AGAIN}",
    "WorkerHealthCheckFailedError": f"a worker process has died, as from lack of memory or a kill: {AGAIN}",
    "WorkerHealthCheckTimeoutError": f"a worker no longer answers: {AGAIN}",
    "WorkerGroupStartupTimeoutError": "the cluster had no room for the workers in time: lower workers.num, or wait "
    "until other work has ended",
    "WorkerGroupStartupFailedError": f"the workers could not be started: {AGAIN}",
    "CollectiveTimeoutError": f"the workers no longer reach each other: {AGAIN}",
    "NCCLHangError": f"the workers no longer reach each other: {AGAIN}",
    "PreemptionError": f"machines of the cluster were taken away: {AGAIN}",
    "RuntimeEnvSetupError": "Ray could not bring this code to its workers: look at the cluster's runtime_env log",
    "TaskUnschedulableError": "the cluster has no machine with room for a worker: use fewer or smaller workers",
    "ActorUnschedulableError": "the cluster has no machine with room for a worker: use fewer or smaller workers",
    "RpcError": f"the cluster no longer answers: look whether it runs; {AGAIN}",
    "RaySystemError": f"Ray itself has failed: look whether the cluster runs; {AGAIN}",
}
"""What is at fault by the class of Ray's error, or a class above it."""
_GPU_FULL = f"a GPU's memory does not suffice: lower what is computed at once, or end what else uses it; {AGAIN}"
_OWN_DEFECT = "in its creation task"
"""What Ray says of an actor that could not be built: its own exception is the reason, and no death of a process."""
_MOST_CHARACTERS = 300


def work_failed(error: BaseException) -> WorkFailed | None:
    """The failure, in one line, that an error is or that Ray's error means; None for a defect of this program."""
    for each in _causes(error):
        if isinstance(each, WorkFailed):
            return each
        names = [kind.__name__ for kind in type(each).__mro__ if kind.__module__.startswith("ray.")]
        fault = next((_FAULTS[name] for name in names if name in _FAULTS), None)
        if any(kind.__module__ == "torch" and kind.__name__ == "OutOfMemoryError" for kind in type(each).__mro__):
            fault = _GPU_FULL
        if fault is not None and _OWN_DEFECT not in str(each):
            return WorkFailed(f"{fault} ({type(each).__name__}: {one_line(each)[:_MOST_CHARACTERS]})")
    return None


def is_of_ray(error: BaseException) -> bool:
    """Whether an error is of a class of Ray, or of one that Ray has derived from another."""
    return any(kind.__module__.startswith("ray.") for kind in type(error).__mro__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised for, as Python's and Ray's own fields name it, the innermost first."""
    within = (
        error.__cause__,
        getattr(error, "cause", None),
        getattr(error, "controller_failure", None),
        *(getattr(error, "worker_failures", None) or {}).values(),
    )
    for each in within:
        if isinstance(each, BaseException) and each is not error:
            yield from _causes(each)
    yield error
