"""The documentation says what the program does; ``make reference`` writes its outputs and pages anew.

A page shows commands in console blocks, with what they print, and files in code blocks that name one in their title.
``<!-- in FOLDER -->`` says where the commands of the rest of a page are typed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spectramind_config as sc
from spectramind_train.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ALL = [*sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
ALL += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PLACE = re.compile(r"^<!-- in (\S+) -->$", re.MULTILINE)
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
FILE = re.compile(r'^```\w+ title="(\S+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW = "if this change is meant, run: make reference"


def named(page: Path) -> str:
    """A page as its tests are called."""
    return str(page.relative_to(ROOT))


def shows_output(page: Path) -> bool:
    """Whether a page has console blocks, whose outputs are checked."""
    return "```console\n" in page.read_text(encoding="utf-8")


def in_this_process(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``spectramind …`` prints, stdout before stderr; it saves the start of a process."""
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.delenv("COLUMNS", raising=False)
        while "=" in words[0]:
            patch.setenv(*words.pop(0).split("=", 1))
        main(words[1:])
    found = capsys.readouterr()
    return found.out + found.err


def in_a_shell(command: str, folder: Path) -> str:
    """What a command prints that is typed in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SM_", "COLUMNS"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")


def timeless(text: str) -> str:
    """A text without what no two runs share."""
    return re.sub(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+\]|\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", "TIME", text)


def normalised(text: str) -> str:
    """A text without what changes with every edit of the source: line numbers and fingerprints."""
    text = timeless(text)
    return re.sub(r"\b[0-9a-f]{12,}\b", "HEX", re.sub(r"(\.py):\d+", r"\1:N", text))


@pytest.mark.parametrize("page", [page for page in ALL if shows_output(page)], ids=named)
def test_every_console_shows_what_is_printed(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of each console block is run, and prints what stands below it."""
    text = page.read_text(encoding="utf-8")
    places = {place.start(): place[1] for place in PLACE.finditer(text)}
    copies: dict[str, Path] = {}

    def folder(block: re.Match[str]) -> Path:
        place = [name for start, name in places.items() if start < block.start()][-1]
        if place not in copies:
            ignored = shutil.ignore_patterns("__pycache__", "multirun", "outputs")
            copies[place] = shutil.copytree(ROOT / place, tmp_path / place, ignore=ignored)
        return copies[place]

    def printed(command: str, block: re.Match[str]) -> str:
        words = shlex.split(command)
        program = next(word for word in words if "=" not in word)
        if program == "spectramind" and "|" not in command and not places:
            return in_this_process(words, capsys, monkeypatch).replace(f"{ROOT}/", "")
        return in_a_shell(command, folder(block))

    def run(block: re.Match[str]) -> str:
        if block[0].startswith("$ make "):  # It takes minutes.
            return block[0]
        commands = re.findall(r"^\$ (.*)$", block[0], re.MULTILINE)
        shown = [f"$ {command}\n{printed(command, block)}" for command in commands]
        return ("\n" if any(one.count("\n") > 2 for one in shown) else "").join(shown)

    found = CONSOLE.sub(run, text)
    if "UPDATE_DOCS" in os.environ and timeless(found) != timeless(text):
        page.write_text(found, encoding="utf-8")
    assert normalised(found) == normalised(page.read_text(encoding="utf-8")), NEW


@pytest.mark.parametrize("page", ALL, ids=named)
def test_every_file_on_a_page_is_that_file(page: Path) -> None:
    """A code block with a title stands in the file of that name, all of it or some consecutive lines."""
    for name, code in FILE.findall(page.read_text(encoding="utf-8")):
        parts = re.split(r"^ *# …\n", code, flags=re.MULTILINE)
        text = (ROOT / name).read_text(encoding="utf-8")
        assert [part for part in parts if part.strip("\n") not in text] == [], name


@pytest.mark.parametrize("page", [page for page in ALL if SCRIPT.search(page.read_text(encoding="utf-8"))], ids=named)
def test_the_code_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    """The code blocks without a title are one program, from the top of the page to its end."""
    script = tmp_path / "page.py"
    script.write_text("\n\n".join(SCRIPT.findall(page.read_text(encoding="utf-8"))), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_is_up_to_date() -> None:
    """The pages in docs/reference are what the declarations say; there are no others."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    if "UPDATE_DOCS" in os.environ:
        reference.write()
    pages: dict[Path, str] = reference.pages()
    assert sorted(pages) == sorted((DOCS / "reference").iterdir())
    assert [file.name for file, text in pages.items() if file.read_text(encoding="utf-8") != text] == [], NEW


def test_every_public_name_is_on_the_page_about_the_interface() -> None:
    """Someone who reads only the documentation finds it."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert [name for name in sc.__all__ if not re.search(rf"`sc\.{name}`|^::: .*\.{name}$", text, re.MULTILINE)] == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """What ``make docs`` does; every page is in the navigation, and every link and name on it is found."""
    pytest.importorskip("mkdocs", reason="make docs installs what builds the site")
    pytest.importorskip("mkdocstrings", reason="make docs installs what builds the site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ALL, ids=named)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """A relative link names a file of the repository; on the site, one of the site."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
        if page.is_relative_to(DOCS):
            assert (page.parent / target).resolve().is_relative_to(DOCS), f"{target} is not on the site"
