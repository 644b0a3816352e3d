"""Whatever a process prints, logs or raises from its work, the secrets of its URLs stay in it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.redacted_output import hiding_secrets
from tests.harness.repository import REPOSITORY

URL = "https://user:geheim@host/x?sig=geheim"
PROGRAM = f"""
import logging, sys, threading, warnings
from pipeline.redacted_output import hide_secrets
old = logging.StreamHandler()
hide_secrets()
hide_secrets()
print("printed {URL}")
sys.stderr.write("written {URL}\\n")
sys.stdout.writelines(["a line {URL}\\n"])
logging.getLogger("library").warning("logged %s", "{URL}")
logging.getLogger("library").addHandler(old)
logging.getLogger("library").error("again %s", "{URL}")
try:
    raise OSError("can't reach {URL}")
except OSError:
    logging.getLogger("library").exception("in the handler")
logging.getLogger("library").warning("%d", "not a number")
warnings.warn("warned {URL}")
thread = threading.Thread(target=lambda: int("{URL}"))
thread.start()
thread.join()
print(sys.stdout.encoding, sys.stdout.isatty(), file=sys.stdout, flush=True)
raise RuntimeError("a defect with {URL}")
"""


def test_all_that_a_process_prints_is_redacted(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert "geheim" not in done.stdout + done.stderr
    shown = done.stdout + done.stderr
    for said in ("printed", "written", "a line", "logged", "again", "can't reach", "warned", "a defect with"):
        assert f"{said} https://user:***@host/x?sig=***" in shown
    assert "Traceback" in done.stderr


def test_an_error_leaves_a_worker_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    @hiding_secrets
    def work(error: Exception | None) -> str:
        if error is not None:
            raise error
        return URL

    assert work(None) == URL
    with pytest.raises(RuntimeError, match=r"OSError: can't reach https://user:\*\*\*@host") as caught:
        work(OSError(f"can't reach {URL}"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    with pytest.raises(OSError, match="of a disk") as caught:
        work(OSError("of a disk"))
    assert type(caught.value) is OSError


def test_messages_of_bad_input_hold_no_secrets() -> None:
    assert str(BadInput(f"out: {URL} can't be reached")) == "out: https://user:***@host/x?sig=*** can't be reached"


def test_records_without_secrets_stay(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("library").warning("%d of %s", 3, "https://host/x")
    assert caplog.records[0].args == (3, "https://host/x")
