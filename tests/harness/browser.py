"""A headless Chromium driven through its DevTools protocol: pages opened, what they show, and screenshots."""

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 30.0


def find_browser() -> str | None:
    """Where Chromium is, by the names that distributions give it."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One window. Commands are the protocol's (https://chromedevtools.github.io/devtools-protocol)."""

    def __init__(self, program: str, *, width: int = 1400, height: int = 1000) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._profile.name}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._num_sent = 0

    def __enter__(self) -> Self:
        port_file = Path(self._profile.name, "DevToolsActivePort")
        wait_until(lambda: port_file.exists() and port_file.read_text().count("\n") == 1, "Chromium's port")
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_S) as answer:
            (page,) = [target for target in json.load(answer) if target["type"] == "page"]
        self._loop.run_until_complete(self._connect(page["webSocketDebuggerUrl"]))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._disconnect())
        self._loop.close()
        self._process.terminate()
        self._process.wait(30)
        self._profile.cleanup()

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression gives, as JSON has it."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until the expression is true."""
        wait_until(lambda: bool(self.evaluate(expression)), expression)

    def wait_for_text(self, text: str) -> None:
        """Until the page shows it."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(text)})")

    @property
    def text(self) -> str:
        return self.evaluate("document.body.innerText")

    def screenshot(self) -> bytes:
        """What the window shows, as a PNG file."""
        return base64.b64decode(self.command("Page.captureScreenshot")["data"])

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._loop.run_until_complete(asyncio.wait_for(self._command(method, parameters), TIMEOUT_S))

    async def _command(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._num_sent += 1
        await self._socket.send_json({"id": self._num_sent, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == self._num_sent:  # Anything else is an event.
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    async def _connect(self, url: str) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(url, max_msg_size=0)

    async def _disconnect(self) -> None:
        await self._socket.close()
        await self._session.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)
