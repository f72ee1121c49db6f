"""Links, paths and test names in the documentation refer to things that exist."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from core.paths import REPOSITORY_ROOT

DOCUMENTS = sorted(
    [*REPOSITORY_ROOT.glob("*.md"), *(REPOSITORY_ROOT / "docs").rglob("*.md"), *REPOSITORY_ROOT.glob("models/*/*.md")]
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)
# A file of this repository in backticks: a folder that exists at its root, then a path with a known suffix.
FILE_PATH = re.compile(r"^([A-Za-z_][\w.-]*)/[\w./-]+\.(?:css|html|js|md|py|service|sh|toml|txt|yaml)$")
TEST_NAME = re.compile(r"^test_\w+$")
FUNCTION = re.compile(r"^\s*(?:async )?def (\w+)", re.MULTILINE)
# The changelog describes earlier versions, whose files may be gone.
HISTORY = REPOSITORY_ROOT / "CHANGELOG.md"
# Written at run time.
GENERATED_FOLDERS = frozenset(("var", "runs"))


def without_code_blocks(document: Path) -> str:
    return FENCE.sub("", document.read_text("utf-8"))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, formed as GitHub forms them."""
    found: dict[str, int] = {}
    result = set()
    for heading in HEADING.findall(without_code_blocks(document)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.get(anchor, 0)
        found[anchor] = count + 1
        result.add(f"{anchor}-{count}" if count else anchor)
    return result


def name_of(document: Path) -> str:
    return document.relative_to(REPOSITORY_ROOT).as_posix()


def test_names_of_documents_are_unique_and_there_are_some() -> None:
    assert len(DOCUMENTS) == len(set(DOCUMENTS)) > 30


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_and_images_exist(document: Path) -> None:
    broken = []
    for link in LINK.findall(without_code_blocks(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / unquote(path)).resolve() if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path != HISTORY], ids=name_of)
def test_files_of_the_repository_exist(document: Path) -> None:
    missing = []
    for code in CODE.findall(without_code_blocks(document)):
        match = FILE_PATH.match(code)
        if not match or match[1] in GENERATED_FOLDERS or not (REPOSITORY_ROOT / match[1]).is_dir():
            continue
        if not (REPOSITORY_ROOT / code).is_file():
            missing.append(code)
    assert not missing


@pytest.mark.parametrize("package", ["controller", "web_tier"])
def test_the_architecture_lists_every_module(package: str) -> None:
    named = set(re.findall(r"\w+", (REPOSITORY_ROOT / "docs/explanation/architecture.md").read_text("utf-8")))
    modules = {path.stem for path in (REPOSITORY_ROOT / package).rglob("*.py")} - {"__init__"}
    assert modules
    assert not modules - named


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_merge_conflict_is_left(document: Path) -> None:
    assert not re.search(r"^(?:<<<<<<<|>>>>>>>) ", document.read_text("utf-8"), re.MULTILINE)


def test_tests_that_are_named_as_evidence_exist() -> None:
    defined: set[str] = set()
    for path in (REPOSITORY_ROOT / "tests").rglob("*.py"):
        defined.update(FUNCTION.findall(path.read_text("utf-8")), [path.stem])
    named = {
        (name_of(document), code)
        for document in DOCUMENTS
        if document != HISTORY
        for code in CODE.findall(without_code_blocks(document))
        if TEST_NAME.match(code)
    }
    assert named
    assert not {(document, name) for document, name in named if name not in defined}


def test_modules_that_are_named_by_file_alone_exist() -> None:
    """`test_web_sessions.py` and the like stand without a folder in docs/reference/security-checklist.md."""
    stems = {path.name for path in (REPOSITORY_ROOT / "tests").rglob("test_*.py")}
    missing = {
        (name_of(document), code)
        for document in DOCUMENTS
        if document != HISTORY
        for code in CODE.findall(without_code_blocks(document))
        if re.fullmatch(r"test_\w+\.py", code) and code not in stems
    }
    assert not missing
