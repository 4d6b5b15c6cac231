"""Rules about the repository itself: what may stand in it, and that its documents tell the truth."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import order

ROOT = Path(__file__).parents[2]
MAX_LINES = 400

# Written in parts, so that this file does not hold what it forbids.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("crates", "io"),
        ("repo1", "maven", "org"),
        ("deb", "debian", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("gcr", "io"),
    ]
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def test_no_registry_is_named() -> None:
    # Go modules are named by where their source lives (go.mod, go.sum): a name of a module is no address of a registry.
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked()
        if path.name not in {"go.mod", "go.sum"}
        for host in REGISTRY_HOSTS
        if host in text_of(path)
    ]
    assert found == []


def test_the_files_that_are_begun_with_are_there() -> None:
    assert [name for name in order.LONGEST if not (ROOT / name).is_file()] == []


def test_files_stay_small() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix in {".py", ".go", ".lua"} and (lines := len(text_of(path).splitlines())) > MAX_LINES
    }
    assert found == {}


def test_every_make_target_is_documented() -> None:
    makefile = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    documented = set(re.findall(r"^([a-z][a-z0-9-]*):.*## ", makefile, re.MULTILINE))
    assert targets - documented == set()


def test_ci_calls_only_make() -> None:
    commands = [
        line for line in text_of(ROOT / ".ci/run").splitlines() if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["exec make test"]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_documents_name_what_exists(document: str) -> None:
    """Paths in backquotes and links exist; `make` verbs are in the Makefile."""
    text = text_of(ROOT / document)
    paths = re.findall(r"`((?:operator|runtime|tests|charts|crds|docs|examples)/[\w./*-]*)`", text)
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    missing = [path for path in paths if not list(ROOT.glob(path.rstrip("/") or "."))]
    missing += [link for link in links if not ((ROOT / document).parent / link).exists()]
    assert missing == []
    verbs = set(re.findall(r"^\s*make ([a-z0-9-]+)", text, re.MULTILINE)) | set(re.findall(r"`make ([a-z0-9-]+)", text))
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert {verb for verb in verbs if not verb.endswith("-")} - targets == set()
