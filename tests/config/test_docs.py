"""The documentation says what the program does; run with UPDATE_DOCS=1 to write its outputs and pages anew."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from pathlib import Path

import pytest

from spectramind_train.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
PAGES = sorted(page for page in DOCS.glob("*.md") if "```console\n" in page.read_text(encoding="utf-8"))


def printed(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a line of a console prints, stdout before stderr."""
    words = shlex.split(command)
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        while "=" in words[0]:
            patch.setenv(*words.pop(0).split("=", 1))
        assert words.pop(0) == "spectramind"
        main(words)
    found = capsys.readouterr()
    return (found.out + found.err).replace(f"{ROOT}/", "")


def normalised(text: str) -> str:
    """A text without what changes with every edit of the source: line numbers and fingerprints."""
    return re.sub(r"\b[0-9a-f]{12,}\b", "HEX", re.sub(r"(\.py):\d+", r"\1:N", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_console_shows_what_is_printed(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of each console block is run, and prints what stands below it."""
    text = page.read_text(encoding="utf-8")

    def run(block: re.Match[str]) -> str:
        commands = re.findall(
            r"^\$ (spectramind (?:config|profiles) .*|\w+=\S* spectramind .*)$", block[0], re.MULTILINE
        )
        assert len(commands) == len(re.findall(r"^\$ ", block[0], re.MULTILINE))
        return "\n".join(f"$ {command}\n{printed(command, capsys, monkeypatch)}" for command in commands)

    found = CONSOLE.sub(run, text)
    if "UPDATE_DOCS" in os.environ:
        page.write_text(found, encoding="utf-8")
    assert normalised(found) == normalised(page.read_text(encoding="utf-8"))


def test_the_reference_is_up_to_date() -> None:
    """The pages in docs/reference are what ``python docs/reference.py`` writes; there are no others."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    pages: dict[Path, str] = reference.pages()
    if "UPDATE_DOCS" in os.environ:
        reference.write()
    assert sorted(pages) == sorted((DOCS / "reference").iterdir())
    stale = [file.name for file, text in pages.items() if file.read_text(encoding="utf-8") != text]
    assert stale == [], "run python docs/reference.py"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the repository."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
