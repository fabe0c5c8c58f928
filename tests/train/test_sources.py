"""The digest of the code that a stored value depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spectramind_train.run.sources import _code, _modules, package_digest, source_digest

MODULES = {
    "__init__": "",
    "top": "from {package}.part import double\nfrom {package} import side\n\n\ndef f(x):\n    return double(x)\n",
    "part": "import numpy\n\n\ndef double(x):\n    return 2 * x\n",
    "side": "A = 1\n",
    "other": "B = 1\n",
}


@pytest.fixture
def digest_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``digest_with(part="…")``: the digest of ``top`` in a package whose module ``part`` reads so."""
    package = f"package_{tmp_path.name}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / package).mkdir()

    def digest(**changes: str) -> str:
        for name, text in (MODULES | changes).items():
            (tmp_path / package / f"{name}.py").write_text(text.format(package=package))
        source_digest.cache_clear()
        _code.cache_clear()
        return source_digest(f"{package}.top")

    return digest


def test_the_digest_follows_what_is_imported(digest_with: Callable[..., str]) -> None:
    """A change in a module, or in one that it imports, counts; in a stranger, or in a comment, it does not."""
    first = digest_with()
    assert len(first) == 64
    assert digest_with(part=MODULES["part"].replace("2 *", "3 *")) != first
    assert digest_with(side="A = 2\n") != first
    assert digest_with(top=MODULES["top"].replace("double(x)", "double(x + 1)")) != first
    assert digest_with(other="B = 2\n") == first
    assert digest_with(part=f"# Why.\n{MODULES['part']}\n\n") == first
    assert digest_with() == first


ARIEL = "ariel.calibration ariel.detector ariel.dataset ariel.tables ariel.constants ariel.lightcurves"
TRANSIT = "transit.spectrum_fit transit.white_light transit.occultation"
SIMULATED = "simulated.observation simulated.population simulated.spectra transit.occultation ariel.detector"


@pytest.mark.parametrize(
    ("module", "parts"),
    [
        ("planets.preparation", f"planets.cache {ARIEL} {TRANSIT}"),
        ("simulated.data_set", SIMULATED),
    ],
)
def test_stored_planets_depend_on_all_that_computes_them(module: str, parts: str) -> None:
    """Neither the cache of prepared planets nor simulated data outlive a change of what made them."""
    found = set(_modules(f"spectramind_train.{module}"))
    assert {f"spectramind_train.{part}" for part in (module, *parts.split())} <= found
    assert not {name for name in found if any(f".{floor}" in name for floor in ("learning", "v50", "run"))}


def test_a_package_is_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes in one of them, or by which name it goes, is told."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / f"package_{tmp_path.name}"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    part = package / "inner" / "part.py"
    part.write_text("A = 1\n")

    def digest() -> str:
        package_digest.cache_clear()
        return package_digest(package.name)

    found = [digest()]
    part.write_text("A = 1  # One.\n")
    found.append(digest())
    part.rename(part.with_name("other.py"))
    found.append(digest())
    assert len(set(found)) == 3
    (package / "notes.txt").touch()
    assert digest() == found[-1]
