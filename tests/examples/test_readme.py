"""The pages about the examples."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_example_is_in_the_table(examples: Path) -> None:
    """A folder or a script that is not listed would not be found."""
    table = (examples / "README.md").read_text(encoding="utf-8")
    found = {one.name for one in examples.iterdir() if one.is_dir() or one.suffix == ".py"} - {"__pycache__"}
    assert {target.split("/")[0] for target in re.findall(r"^\| \[.*?\]\((.*?)\)", table, re.MULTILINE)} == found


def test_every_link_to_a_file_leads_somewhere(examples: Path) -> None:
    """A relative link names a file of the repository."""
    for page in examples.rglob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
