"""The command that shows a folder of codes: its exit codes and errors."""

from pathlib import Path

import pytest

from jobs.inspect_codes import main
from pipeline.codes.inspect_codes import InspectCodesConfig
from pipeline.command import job
from pipeline.storage import Folder
from tests.harness.code_folders import small_table, write_codes


def exit_code(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        job.run_plain(main, InspectCodesConfig, arguments)
    return ended.value.code


def test_the_exit_code_says_whether_the_folder_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(tmp_path / "codes")
    write_codes(folder, small_table(5), unit_size=2)
    assert exit_code(folder, "--verify") == 0
    Folder(folder).remove(Folder(folder).list("codes-*")[1].name)
    assert exit_code(folder, "--verify") == 1
    assert exit_code(str(tmp_path / "nothing")) == 2
    assert capsys.readouterr().err.startswith(f"error: folder: {tmp_path}/nothing is not there")
    assert exit_code() == 2
    assert capsys.readouterr().err == "error: missing: CODES\n"
    assert exit_code(folder, "--num", "0", "--decode", "out.png", "--tokenizer", str(tmp_path)) == 2
    assert "--num 0: must be at least 1" in capsys.readouterr().err
    assert exit_code(folder, "--decode", "out.png") == 2
    assert "--tokenizer" in capsys.readouterr().err
