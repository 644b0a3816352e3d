"""`mlflow server` as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping


class Server:
    """`mlflow server` as a process. After hold() it takes connections and never answers, until release()."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Starts `mlflow server` with these arguments, in which 5000 stands for a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.uri = f"http://localhost:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server", *(each.replace("5000", port) for each in arguments)]
        self._environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
        self.start()

    def start(self) -> None:
        """Starts the process, again on the same port after end().

        Raises:
            TimeoutError: It does not answer within a minute.
        """
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(self.uri)

    def hold(self) -> None:
        """Stops the process without ending it."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def release(self) -> None:
        """Lets the process go on after hold()."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        """Kills the process."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
