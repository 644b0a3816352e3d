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
    """`mlflow server` as a process; hold() makes a black hole of it, which takes connections and never answers."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Those of its command line: 5000 in them stands for a port that is free."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.uri = f"http://localhost:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server", *(each.replace("5000", port) for each in arguments)]
        self._environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
        self.start()

    def start(self) -> None:
        """Again on the same port, after end()."""
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
        os.killpg(self._process.pid, signal.SIGSTOP)

    def release(self) -> None:
        os.killpg(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
