"""Every document that code and documents cite is in the repository, and has the section that they cite."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.repository import REPOSITORY

FOLDERS = ("bar_model", "pipeline", "jobs", "tests", "benchmarks", "docs", "infra")
ROOT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")
KINDS = {".py", ".md", ".jinja", ".toml", ".yaml", ".yml"}
# "docs/method.md, section 4", "sections 3 and 4", and a document alone. A document without its folder is found, too.
CITED = re.compile(
    r"(?<![\w/.-])(?P<document>(?:docs/)?[a-z_]+\.md)(?:, sections? (?P<sections>\d+(?:(?:, | and | to )\d+)*))?"
)


def citations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each cited document, with the numbers of the sections cited; a line break may part the words."""
    targets = re.sub(r"\[[^\]]*\]\((?=[^)]*\.md)", "(", text)  # Of a link the target counts, not its text.
    joined = re.sub(r"\s*\n\s*#?\s*", " ", targets)
    for found in CITED.finditer(joined):
        yield found["document"], re.findall(r"\d+", found["sections"] or "")


def unresolved(text: str, *folders: Path) -> list[str]:
    """Cited documents and sections that are in none of these folders."""
    wrong = []
    for document, sections in citations(text):
        file = next((folder / document for folder in folders if (folder / document).is_file()), None)
        if file is None:
            wrong.append(document)
            continue
        headings = re.findall(r"^#+ (\d+)\. ", file.read_text(), re.MULTILINE)
        wrong += [f"{document}, section {number}" for number in sections if number not in headings]
    return wrong


def citing_files() -> list[Path]:
    walked = (file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*") if file.suffix in KINDS)
    return [*(file for file in walked if file != Path(__file__)), *(REPOSITORY / name for name in ROOT)]


PATHS = re.compile(r"(?<![\w/.-])(?:(?:pipeline|bar_model|tests|jobs|benchmarks|infra)/[\w/.-]*\w\.(?:py|yaml))\b")


def test_every_file_that_is_named_is_there() -> None:
    wrong = {
        f"{file.relative_to(REPOSITORY)}: {name}"
        for file in citing_files()
        for name in PATHS.findall(file.read_text())
        if not (REPOSITORY / name).exists()
    }
    assert not wrong


def test_every_citation_resolves() -> None:
    wrong = {}
    for file in citing_files():
        # A link in a Markdown file is relative to the file's own folder.
        folders = [REPOSITORY, file.parent] if file.suffix == ".md" else [REPOSITORY]
        if found := unresolved(file.read_text(), *folders):
            wrong[str(file.relative_to(REPOSITORY))] = found
    assert not wrong


@pytest.mark.parametrize(
    ("module", "section"), [("heads/masked_bit", "4"), ("tokenizer/loss", "2"), ("generator/sampling", "4")]
)
def test_the_papers_core_cites_the_method(module: str, section: str) -> None:
    text = (REPOSITORY / "bar_model" / f"{module}.py").read_text()
    assert ("docs/method.md", [section]) in citations(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see docs/method.md, section 4", []),
        ("see docs/method.md,\n    # section 4 and section 9", []),
        ("see docs/method.md, sections 3 and 9", ["docs/method.md, section 9"]),
        ("see docs/method.md,\n# section 12", ["docs/method.md, section 12"]),
        ("see method.md, section 4", ["method.md"]),
        ("see design.md, contract 1", ["design.md"]),
        ("see [the guide](docs/nowhere.md)", ["docs/nowhere.md"]),
        ("see [method.md](docs/method.md)", []),
    ],
)
def test_what_does_not_resolve_is_found(text: str, wrong: list[str]) -> None:
    assert unresolved(text, REPOSITORY) == wrong
