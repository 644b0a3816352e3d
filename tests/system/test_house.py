"""The house keeps its shape: no circles, rooms and files of a readable size, small functions that load little.

The directions between rooms are import-linter's contracts in pyproject.toml; here is what it can't say.
"""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.repository import REPOSITORY

PACKAGES = ("jobs", "pipeline", "bar_model")
MOST_FILES, MOST_LINES = 18, 350
ROOMS = sorted(path.parent for package in PACKAGES for path in (REPOSITORY / package).rglob("__init__.py"))
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
    for package in PACKAGES
    for path in sorted((REPOSITORY / package).rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(path: Path) -> set[str]:
    """The modules of this house that a file imports, wherever in it, for types alone included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & MODULES.keys()


IMPORTS = {name: imported(path) - {name} for name, path in MODULES.items()}


def reached(name: str) -> set[str]:
    """The modules of the house that importing a module loads, or could load in one of its functions."""
    seen, waiting = set(), [name]
    while waiting:
        new = IMPORTS[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def public_definitions(path: Path) -> list[str]:
    definitions = [
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    ]
    return [name for name in definitions if not name.startswith("_")]


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not [name for name in MODULES if name in reached(name)]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(REPOSITORY)))
def test_a_room_says_what_lives_there_and_is_not_crowded(room: Path) -> None:
    files = [path for path in room.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST_FILES
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert docstring is not None
    assert len(docstring.splitlines()) >= (1 if room.name == "jobs" else 2)


def test_no_file_is_longer_than_an_idea() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_files_of_json_are_written_through_one_door() -> None:
    """`json_file` refuses NaN and infinities, which other readers of JSON don't take."""
    writers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump")
        if ast.unparse(node.func) == "json.dump" or any(keyword.arg == "indent" for keyword in node.keywords)
    }
    assert writers <= {"bar_model.configuration"}


def test_drawing_loads_little_else() -> None:
    """What samples are judged by, and how models are trained, is no part of drawing them."""
    names = {name for name in reached("pipeline.samples.sample") if name.startswith("pipeline.")}
    rooms = {name.split(".")[1] for name in names}
    assert not rooms & {"codes", "digits", "evaluation", "metrics", "presets", "reports", "workflows"}
    assert {name for name in names if name.startswith("pipeline.training.")} == {"pipeline.training.output"}
    assert not {name for name in names if name.startswith(("pipeline.evaluation", "pipeline.workflows"))}


def test_every_public_definition_has_a_docstring() -> None:
    without = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef | ast.Module):
                continue
            if isinstance(node, ast.ClassDef) and node.name.startswith("_"):
                continue
            for inner in node.body:
                if isinstance(inner, ast.ClassDef | ast.FunctionDef) and not inner.name.startswith("_"):
                    is_overload = any(ast.unparse(each) == "overload" for each in inner.decorator_list)
                    if ast.get_docstring(inner) is None and not is_overload and not name.startswith("jobs."):
                        without.append(f"{name}: {inner.name}")
    assert not without


MAY_REPEAT = {"prepare"}
"""What each of several rooms has by the same name, meaning the same."""


def test_a_name_has_one_meaning() -> None:
    names = Counter(
        each for name, path in MODULES.items() if not name.startswith("jobs.") for each in set(public_definitions(path))
    )
    assert {name for name, num in names.items() if num > 1} <= MAY_REPEAT


def test_every_module_has_a_test_of_its_name() -> None:
    tests = REPOSITORY / "tests"
    missing = [
        name
        for name, path in MODULES.items()
        if not name.startswith("jobs.")  # They are a few lines each: test_jobs.py runs all of them.
        and not (tests / path.relative_to(REPOSITORY).parent / f"test_{path.name}").exists()
    ]
    assert not missing


def test_tests_import_no_other_tests() -> None:
    offenders = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += (
                [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            )
            offenders += [
                f"{path.name}: {each}" for each in modules if ".test_" in f".{each}" and each.startswith("tests")
            ]
    assert not offenders


@pytest.mark.system
@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        ("bar_model.checkpoint", {"ray", "mlflow", "tyro", "fsspec", "pyarrow", "PIL", "transformers", "torchvision"}),
        ("pipeline.training.step.trainee", {"ray", "mlflow", "tyro", "fsspec", "pyarrow"}),
        ("pipeline.samples.sample", {"ray", "mlflow", "transformers", "scipy", "sklearn", "matplotlib", "torchvision"}),
    ],
)
def test_importing_a_module_loads_no_library_that_it_does_not_need(module: str, libraries: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not libraries & set(done.stdout.split())
