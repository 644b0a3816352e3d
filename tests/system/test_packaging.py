"""The repository as a stranger finds it: what is pinned, what is named, and that every command in infra/ is real."""

import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pipeline

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
INFRA = sorted((ROOT / "infra").glob("*.yaml"))
# Slow to import, so left to the functions that use them: `--help` answers as soon as torch is there.
LAZY = {"lpips", "matplotlib", "mlflow", "pandas", "ray", "scipy", "sklearn", "timm", "torchvision", "transformers"}


def locked() -> Iterator[tuple[Requirement, list[str]]]:
    """Each entry of the lock with its hashes."""
    lines = "\n".join(line for line in LOCK.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    for line in lines.splitlines():
        requirement, *hashes = line.split("--hash=")
        yield Requirement(requirement), [digest.strip() for digest in hashes]


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [Requirement(line) for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]]


def commands(document: dict) -> Iterator[list[str]]:
    """The command lines of jobs that a Kubernetes document runs."""
    match document:
        case {"kind": "RayJob", "spec": {"entrypoint": entrypoint}}:
            yield shlex.split(entrypoint)
        case {"kind": "RayCronJob", "spec": {"jobTemplate": {"entrypoint": entrypoint}}}:
            yield shlex.split(entrypoint)
        case {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}:
            for container in pod["containers"]:
                assert container["command"][:3] == ["ray", "job", "submit"]
                yield container["args"]


def documents() -> Iterator[dict]:
    for path in INFRA:
        yield from yaml.safe_load_all(path.read_text())


JOBS = {shlex.join(command) for document in documents() for command in commands(document)}


def test_every_locked_package_has_one_version_and_hashes():
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_the_lock_names_no_address():
    assert "://" not in LOCK
    assert "-url" not in LOCK


def test_the_lock_holds_what_is_declared():
    versions: dict[str, list[str]] = {}
    for requirement, _ in locked():
        versions.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier)[2:])
    for requirement in declared():
        found = versions.get(canonicalize_name(requirement.name), [])
        assert found, f"{requirement} is in pyproject.toml but not in requirements.lock: make lock"
        assert all(requirement.specifier.contains(version) for version in found), (requirement, found)


def test_no_file_names_a_registry_or_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = re.compile(
        r"(pypi|pythonhosted|anaconda|npmjs|download\.pytorch)\.(org|com)|(?<![\w.~$})])/(work|tmp|root|opt/pypi)/"
    )
    for name in tracked.splitlines():
        path = ROOT / name
        if path.suffix in {".png", ".safetensors", ".parquet", ".npz"} or not path.exists():
            continue
        found = told.search(path.read_text())
        assert found is None, f"{name}: {found and found.group()}"


@pytest.mark.system
def test_pipeline_imports_quickly():
    names = [module.name for module in pkgutil.walk_packages(pipeline.__path__, "pipeline.")]
    # A subclass of Ray's own, which the others must import where they need it.
    names.remove("pipeline.execution.ray_data_internals")
    script = f"import sys, {', '.join(names)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert LAZY.isdisjoint(run.stdout.split()), "import these inside the functions that use them"


@pytest.mark.system
@pytest.mark.parametrize("command", sorted(JOBS))
def test_a_command_of_infra_is_a_job_of_the_readme(command: str):
    python, *arguments = shlex.split(command)
    assert python == "python"
    run = subprocess.run(
        [sys.executable, *arguments, "--print-config"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    readme = " ".join((ROOT / "README.md").read_text().replace("\\\n", " ").split())
    assert command in readme


def test_every_container_runs_the_image_of_the_dockerfile_and_the_locked_ray():
    (ray,) = {str(requirement.specifier)[2:] for requirement, _ in locked() if requirement.name == "ray"}
    text = "".join(path.read_text() for path in INFRA)
    assert set(re.findall(r"rayVersion: (\S+)", text)) == {f'"{ray}"'}
    assert set(re.findall(r"image: (\S+)", text)) == {"bar:latest"}
