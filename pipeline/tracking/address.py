"""The address of a run: all that a process needs to log to it, as pure data."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunAddress:
    """Names a run and its server. It can be pickled and sent to any machine; neither does anything to the run.

    The key is ours and kept in the job's output folder, so a run can begin while its server is unreachable, and a job
    that is started again on that folder continues its run.
    """

    key: str
    name: str
    uri: str
    experiment: str
    spool: str
    """Folder of all spools, on each machine."""
    parent: str | None = None
    """Key of the run that this one is a stage of."""

    @property
    def folder(self) -> Path:
        """The run's spool on this machine."""
        return Path(self.spool).expanduser() / self.key
