"""The page of a run: whole in itself, honest about what it shows, and safe whatever a manifest says."""

from __future__ import annotations

import base64
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from matplotlib import image

from spectramind_config import compose
from spectramind_train.cli import main
from spectramind_train.run.directory import Run
from spectramind_train.training import Outcome

from .test_resume import TINY, run_of


class Page(HTMLParser):
    """What stands on a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and what it refers to."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Note words."""
        self.words += [data.strip()] if data.strip() else []


@pytest.fixture(scope="module")
def trained(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A short run that is done."""
    return run_of(compose([*small, *TINY, f"local.output_dir={tmp_path_factory.mktemp('page')}"]))


def test_a_page_holds_all_of_a_run(trained: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores of the manifest, every test planet, every setting and who has set it; nothing is loaded from elsewhere."""
    run = trained.run
    assert main(["report", str(run.path)]) == 0
    assert str(run.path / "report.html") in capsys.readouterr().out.replace("\n", "")
    text = (run.path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert run.manifest.data is not None
    test = run.manifest.data.planets["test"]
    assert {*test, run.manifest.run_id, f"{run.manifest.metrics['test_score']:.4f}"} <= set(page.words)
    row = page.words.index("max_epochs")
    assert page.words[row : row + 3] == ["max_epochs", "3", "local.max_epochs=3"]
    assert f"spectramind train {shlex.join(run.manifest.overrides)}" in page.words
    shown = min(len(test), 6)
    pictures = [base64.b64decode(link.removeprefix("data:image/png;base64,"), validate=True) for link in page.links]
    assert len(pictures) == 2 + shown
    assert all(image.imread(BytesIO(one)).std() > 0 for one in pictures)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_words_of_a_manifest_stay_words(trained: Outcome, tmp_path: Path) -> None:
    """A stranger's manifest puts nothing on the page but text."""
    copy = tmp_path / "run"
    shutil.copytree(trained.run.path, copy)
    run = Run.open(copy)
    run.manifest.overrides.append("local.note=<script>alert(1)</script>")
    run.manifest.packages["<img src=x onerror=alert(1)>"] = "1"
    (copy / "manifest.json").write_bytes(msgspec.json.encode(run.manifest))
    assert main(["report", str(copy), "--out", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert all(link.startswith("data:image/png;base64,") for link in page.links)


def test_a_page_that_cannot_be_written_is_one_message(
    trained: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file and the option, before any planet is predicted."""
    (tmp_path / "file").touch()
    for file in (tmp_path / "file" / "page.html", tmp_path):
        assert main(["report", str(trained.run.path), "--out", str(file)]) == 2
        told = capsys.readouterr()
        assert f"error: {file}: " in told.err.replace("\n", "")
        assert "--out" in told.err
        assert "calibrating" not in told.out


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium to open it in")
def test_a_browser_shows_it_at_the_width_of_a_phone(trained: Outcome, tmp_path: Path) -> None:
    """Nothing but tables that scroll is wider than the screen."""
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    assert main(["report", str(trained.run.path), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    look = [*browser, "--window-size=500,2000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(look, capture_output=True, text=True, timeout=300, check=True).stdout
    wide, screen = dom.partition("<title>")[2].partition("</title>")[0].split(" of ")
    assert int(wide) <= int(screen)
    photograph = [*browser, "--window-size=500,2000", f"--screenshot={shot}", page.as_uri()]
    subprocess.run(photograph, capture_output=True, timeout=300, check=True)
    assert image.imread(shot).std() > 0
