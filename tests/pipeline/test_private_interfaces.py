"""Private interfaces of libraries stand in one file each, and are still what those files take them for.

An upgrade of a library fails here first, by the name of what has changed.
"""

import ast
import importlib
import inspect
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from tests.harness.repository import REPOSITORY

PLACES = {
    "tyro": "pipeline/command/tyro_errors.py",
    "ray core": "pipeline/ray_internals.py",
    "ray data": "pipeline/execution/ray_data_internals.py",
    "ray train": "pipeline/training/ray_train_internals.py",
    "torch": "bar_model/torch_private.py",
}
LIBRARIES = ("ray", "tyro", "torch", "mlflow", "pyarrow", "fsspec", "s3fs", "rich", "transformers", "timm", "lpips")


def private_names(path: Path) -> set[str]:
    """Dotted names with a private part that a file imports from a library, or reaches as its attribute."""
    tree, found = ast.parse(path.read_text()), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and _is_dotted_name(node):
            found.add(ast.unparse(node))
    return {
        name
        for name in found
        if name.split(".")[0] in LIBRARIES
        and any(part[0] == "_" and part[:2] != "__" for part in name.split(".") if part)
    }


def _is_dotted_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_dotted_name(node.value))


def test_private_interfaces_stand_in_one_file_a_library() -> None:
    places = {REPOSITORY / place for place in PLACES.values()}
    found = {
        str(path.relative_to(REPOSITORY)): private_names(path)
        for package in ("pipeline", "bar_model", "jobs")
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        if path not in places
    }
    assert not {name: names for name, names in found.items() if names}


@pytest.mark.parametrize("library", PLACES)
def test_what_is_imported_from_a_librarys_inside_is_there(library: str) -> None:
    names = private_names(REPOSITORY / PLACES[library])
    assert names
    for name in names:
        found = _reached(name)
        assert found is not None, f"{name} is no longer there: see {PLACES[library]}"


def _reached(name: str) -> object | None:
    """What a dotted name stands for: the longest part that is a module is imported, the rest are attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return None
            found = getattr(found, part)
            found = found if found is not None else ModuleType("None")
        return found
    return None


def test_tyros_refusals_have_the_fields_that_are_read() -> None:
    from tyro import _errors

    wanted = {
        "UnrecognizedArgs": {"tokens"},
        "InvalidChoice": {"argument", "value", "choices"},
        "BadValue": {"argument"},
        "MissingArgs": {"missing_arguments"},
        "InstantiationFailure": {"message", "argument"},
    }
    for name, attributes in wanted.items():
        assert attributes <= {field.name for field in fields(getattr(_errors, name))}, name


def test_rays_core_gives_an_address_and_its_processes() -> None:
    from ray._private import services, worker

    assert list(inspect.signature(services.find_bootstrap_address).parameters) == ["temp_dir"]
    assert hasattr(worker, "_global_node")
