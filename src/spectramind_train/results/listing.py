"""Runs for the eye: many in a table, one in full, several beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spectramind_config.commands.command import fitted, width
from spectramind_config.errors import quoted, visible
from spectramind_train.run.catalogue import Summary
from spectramind_train.run.clock import words
from spectramind_train.run.comparison import NOTHING, PARTS, Difference, differing, of_config, of_data, recorded
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import Choice

_COLUMNS = ("run", "status", "val", "test", "epochs", "model", "took")
_RIGHT = ("val", "test", "epochs")
_RESUMABLE = "*"
_LONGEST = 30
"""Characters of a model's name in a table."""
_FIRST = ("val_score_best", "test_score")


def table(found: Sequence[Summary]) -> Iterator[str]:
    """Runs in a line each, or in two where the terminal is narrow; validation and test scores."""
    if not found:
        return
    rows = [_COLUMNS, *(tuple(map(visible, _row(one))) for one in found)]
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    is_wide = sum(sizes) + 2 * len(sizes) - 5 <= width()
    for row in rows:
        cells = [
            text.rjust(size) if name in _RIGHT else text.ljust(size)
            for name, text, size in zip(_COLUMNS, row, sizes, strict=True)
        ]
        rest = f"{cells[1]} {' '.join(cells[2:5])}  {'  '.join(cells[5:])}".rstrip()
        yield from (f"{cells[0]}  {rest}",) if is_wide else (row[0], f"  {rest}")
    if any(one.resumable for one in found):
        yield f"{_RESUMABLE} can go on: spectramind train --resume RUN"


def _row(one: Summary) -> tuple[str, ...]:
    return (
        one.name,
        f"{one.status} {_RESUMABLE}" if one.resumable else one.status,
        _score(one.val_score),
        _score(one.test_score),
        NOTHING if one.epochs is None else str(one.epochs),
        one.model if len(one.model) <= _LONGEST else f"{one.model[:_LONGEST]}…",
        NOTHING if one.took_s is None else words(one.took_s),
    )


def _score(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.0e}"  # No score, but a stranger's manifest may say so.


def story(run: Run) -> Iterator[str]:
    """What the manifest of a run says, a line each, and what can be done with the run."""
    manifest, one, path = run.manifest, Summary.of(run), str(run.path)
    yield visible(path)
    host, plan = manifest.host, manifest.plan
    git = manifest.git
    choices = " ".join(f"{group}={name}" for group, name in manifest.profiles.items())
    rows: list[tuple[str, str]] = [
        ("status", manifest.describe()),
        ("started", f"{manifest.started}, took {words(one.took_s)}" if one.took_s is not None else manifest.started),
        *(("resumed", f"{again.time}, after step {again.step}") for again in manifest.resumed),
        ("trained", f"{one.epochs} epochs, {one.steps} steps" if one.epochs is not None else NOTHING),
        ("profiles", choices),
        ("overrides", " ".join(manifest.overrides) or NOTHING),
        ("config", f"fingerprint {manifest.fingerprint[:12]}, of the science {manifest.science_fingerprint[:12]}"),
        ("seed", str(manifest.seed)),
        ("devices", _choice(manifest.devices)),
        ("precision", _choice(manifest.precision)),
        ("host", ", ".join(str(host[name]) for name in ("name", "cpu", "platform") if host.get(name))),
        ("threads", str(plan.get("threads", NOTHING))),
        ("git", f"{git.commit[:12]}{', files changed' if git.dirty else ''}" if git else NOTHING),
        *(("code", f"{digest[:12]} {name}") for name, digest in manifest.code.items()),
        ("packages", ", ".join(f"{name} {version}" for name, version in manifest.packages.items())),
        *(("data", f"{name}: {text}") for name, text in of_data(manifest.data).items()),
        *(("checkpoint", f"{one.file}, {one.kind}, sha256 {one.sha256[:12]}") for one in manifest.checkpoints),
        *(("metric", f"{name} {value:.6g}") for name, value in manifest.metrics.items()),
    ]
    before = ""
    for label, text in rows:
        yield fitted(f"  {label + ':' if label != before else '':<12}", visible(text))
        before = label
    if one.resumable:
        yield f"to go on:  spectramind train --resume {quoted(path)}"
    elif manifest.status == "completed":
        yield f"to use it: spectramind evaluate, predict, reproduce or export {quoted(path)}"


def _choice(one: Choice) -> str:
    asked = f" for {one.requested}" if one.requested != one.effective else ""
    return f"{one.effective}{asked}{f', because {one.reason}' if one.reason else ''}"


@dataclass(frozen=True)
class Compared:
    """Runs beside each other.

    Attributes:
        runs: They, in a line each.
        differences: What differs of code, packages, host, plan and data.
        scores: Their metrics by name, in the order of the runs; None where one has no such metric.
    """

    runs: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    scores: dict[str, tuple[float | None, ...]]

    @classmethod
    def of(cls, runs: Sequence[Run], *, config: bool = False) -> Compared:
        """Compare runs by their manifests, with their configs as these have them where that is wanted."""
        manifests = [run.manifest for run in runs]
        parts = [recorded(one) for one in manifests]
        found = [one for part in parts[0] for one in differing(part, [side[part] for side in parts])]
        found += differing("data", [of_data(one.data) for one in manifests])
        if config:
            found[:0] = differing("config", [of_config(one.config) for one in manifests])
        names = dict.fromkeys(name for one in manifests for name in one.metrics)
        ordered = [*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST)]
        scores = {name: tuple(one.metrics.get(name) for one in manifests) for name in ordered}
        return cls(tuple(map(Summary.of, runs)), tuple(found), scores)

    @property
    def parts(self) -> tuple[list[str], list[str]]:
        """Which parts of the manifests differ, and which are the same."""
        differing = {one.part for one in self.differences}
        return [name for name in PARTS if name in differing], [name for name in PARTS if name not in differing]

    def to_dict(self) -> dict[str, Any]:
        """It as JSON has it."""
        return dataclasses.asdict(self)


def lines_of(found: Compared, settings: Sequence[str], letters: Sequence[str]) -> Iterator[str]:
    """What differs between runs and how they score.

    Args:
        found: The runs.
        settings: Lines about their configs.
        letters: What the runs are called in these lines.
    """
    letters = letters[: len(found.runs)]
    yield from titles_of(found, letters)
    if settings:
        yield from ("", "config", *(f"  {line}" for line in settings))
    part = ""
    for one in found.differences:
        if one.part != part:
            yield from ("", one.part)
            part = one.part
        yield visible(f"  {one.name}")
        yield from (visible(f"    {letter}: {text}") for letter, text in zip(letters, one.values, strict=True))
    _, alike = found.parts
    alike = alike[bool(settings) :] if alike[:1] == ["config"] else alike
    if alike:
        yield from ("", f"the same: {', '.join(alike)}")
    yield ""
    yield from scores_of(found, letters)


def titles_of(found: Compared, letters: Sequence[str]) -> Iterator[str]:
    """Which run is which, and what became of it."""
    for letter, run in zip(letters, found.runs, strict=True):
        yield visible(f"{letter}: {run.path} ({run.status})")


def scores_of(found: Compared, letters: Sequence[str]) -> Iterator[str]:
    """All metrics of runs side by side."""
    size = max(map(len, ("scores", *found.scores)))
    yield f"{'scores':<{size}}  {' '.join(letter.rjust(10) for letter in letters)}"
    for name, values in found.scores.items():
        figures = " ".join((NOTHING if one is None else f"{one:.6g}").rjust(10) for one in values)
        yield visible(f"{name:<{size}}  {figures}")
