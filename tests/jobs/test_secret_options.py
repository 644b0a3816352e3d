"""A secret in any option that takes a URL is in nothing that a job prints; the options are found by their types."""

import base64
import dataclasses
import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest
import tyro

from bar_model.errors import BadInput
from pipeline.paths import Place
from tests.harness.repository import REPOSITORY

JOBS = sorted(path.stem for path in (REPOSITORY / "jobs").glob("*.py") if path.name != "__init__.py")
SECRET = "zq0/geheim@wort"
ADDRESS = f"https://user:{SECRET}@127.0.0.1:1/a.csv?sig={quote(SECRET, safe='')}"
DATABASE = f"postgresql://user:{SECRET}@127.0.0.1:1/runs"
FORMS = ("geheim", base64.b64encode(SECRET.encode()).decode())


def places(hint: Any) -> bool:
    """Whether an annotation marks a place, also inside of another."""
    if get_origin(hint) is Annotated and any(isinstance(extra, Place) for extra in get_args(hint)[1:]):
        return True
    return any(places(part) for part in get_args(hint) if not isinstance(part, (str, int)))


def options(configuration: Any, below: str = "") -> Iterator[tuple[str, bool, bool]]:
    """(name, whether it is a leading argument, whether it must be given) of each option that takes a URL."""
    hints = get_type_hints(type(configuration), include_extras=True)
    for field in dataclasses.fields(configuration):
        value, hint = getattr(configuration, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from options(value, f"{below}{field.name}.")
        elif places(hint) or field.name == "uri":
            is_leading = tyro.conf.Positional in get_args(hint)
            yield f"{below}{field.name}", is_leading, value is tyro.MISSING


def configurations(job: str) -> Iterator[tuple[list[str], Any]]:
    """The words that choose a configuration of a job, and the configuration; one for each type among presets."""
    module = importlib.import_module(f"jobs.{job}")
    presets = [value for name, value in vars(module).items() if name.isupper() and isinstance(value, dict)]
    if not presets:
        (kind,) = [value for name, value in vars(module).items() if name.endswith("Config")]
        required = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
        missing = {field.name: tyro.MISSING for field in required if field.default_factory is dataclasses.MISSING}
        yield [], kind(**missing)
        return
    seen = set()
    for name, preset in presets[0].items():
        configuration = preset()
        if type(configuration) not in seen:
            seen.add(type(configuration))
            yield [name], configuration


def said(
    job: str, arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int | str | None, str]:
    """The exit code of a job, and all that it wrote."""
    monkeypatch.setattr(sys, "argv", [f"jobs/{job}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "jobs" / f"{job}.py"), run_name="__main__")
    return ended.value.code, "".join(capfd.readouterr())


@pytest.mark.long
@pytest.mark.parametrize("job", JOBS)
def test_no_option_shows_its_secret(
    job: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(config: object) -> None:
        raise BadInput("Ray would start now")

    monkeypatch.setattr("pipeline.cluster.connect", refuse)
    num_tried = 0
    for chosen, configuration in configurations(job):
        found = list(options(configuration))
        for name, _, _ in found:
            arguments = list(chosen)
            for other, is_leading, is_required in found:
                if other == name or is_required:
                    url = DATABASE if other == "tracking.uri" else ADDRESS
                    value = url if other == name else str(tmp_path)
                    flag = [] if is_leading else [f"--{other.replace('_', '-')}"]
                    arguments = [*arguments, *flag, value]
            for more in ([], ["--print-config"]):
                code, shown = said(job, [*arguments, *more], capfd, monkeypatch)
                assert code == 2 or more, (name, shown)
                assert code == 2 or "user:***@127.0.0.1:1" in shown, name
                assert not [form for form in FORMS if form in shown], name
            num_tried += 1
        _, shown = said(job, [*chosen, "--config", ADDRESS], capfd, monkeypatch)
        assert "--config https://user:***@127.0.0.1:1" in shown
        assert not [form for form in FORMS if form in shown]
    assert num_tried
