"""A run repeated from its manifest alone: what has changed since, and whether its numbers are the same bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from spectramind_config import ConfigError, EffectiveConfig, NominalData, Problem, from_dict
from spectramind_config.host import Host
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.planets.splits import fingerprint
from spectramind_train.run.comparison import Difference, Part, differing, recorded
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import Manifest
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import Outcome


def rebuild(run: Run, overrides: Sequence[str] = ()) -> EffectiveConfig:
    """The config of a run, with settings changed that do not count for its result, such as paths.

    Raises:
        ConfigError: The manifest's config cannot be read or is not the one that ran, or an override counts.
    """
    manifest, file = run.manifest, str(run.path / "manifest.json")
    config = from_dict(manifest.config, file)
    if config.fingerprint != manifest.fingerprint:
        ran = manifest.fingerprint[:12]
        wrote = f"spectramind {manifest.packages.get('spectramind', '-')}"
        raise ConfigError(
            Problem(
                what=f"{file}: its config has the fingerprint {config.fingerprint[:12]}, but what ran had {ran}",
                hint=f"it was changed since, or a setting means something else to this version ({wrote} wrote it); "
                "take the manifest as it was written, or train with 'spectramind train' and settings of your own",
            )
        )
    changed = config.with_overrides(overrides) if overrides else config
    if changed.science_fingerprint != manifest.science_fingerprint:
        raise ConfigError(
            Problem(
                what=f"{' '.join(overrides)}: with it another result is to be expected, so nothing is reproduced",
                expected="only what says where or how visibly a run happens, such as local.output_dir",
                hint="leave it out, or train with 'spectramind train'",
            )
        )
    # Read back, since what a command line has set counts as set by the user, even what only stood in the manifest.
    return from_dict(changed.to_dict(), file) if overrides else config


def as_then(plan: RunPlan, manifest: Manifest) -> RunPlan:
    """A plan with the number of threads of a run, which changes the order of sums and with it the last bits."""
    return dataclasses.replace(plan, threads=msgspec.convert(manifest.plan, RunPlan).threads)


def differences(manifest: Manifest, config: EffectiveConfig, plan: RunPlan, host: Host) -> list[Difference]:
    """What differs between a run and the same config here and now, all that may change its result."""
    then, now = recorded(manifest), recorded(Manifest.of("", config, plan, host))
    sides = {part: (then[part], now[part]) for part in then}
    order: tuple[Part, ...] = ("code", "packages", "data", "host", "plan")
    sides["data"] = _data(manifest, config)
    return [one for part in order for one in differing(part, sides[part])]


def report(found: Sequence[Difference], run: Run, terminal: Terminal) -> None:
    """Say what differs, or that nothing does."""
    if not found:
        terminal.say(f"code, packages, data and host are those of {run.path}")
        return
    terminal.say(f"what differs from {run.path}:")
    for one in found:
        terminal.say(f"  {one.part}: {one.name}: {' -> '.join(one.values)}")


def require_completed(run: Run) -> None:
    """Refuse a run that has no end to compare with.

    Raises:
        ConfigError: With what became of the run.
    """
    if run.manifest.status != "completed" or not run.manifest.metrics:
        raise ConfigError(
            f"{run.path}: only a completed run has metrics to compare with; this one is {run.manifest.describe()}. "
            "See what differs with --check"
        )


def compare(run: Run, outcome: Outcome, found: Sequence[Difference], terminal: Terminal) -> int:
    """Say whether a second run has the metrics of the first.

    Returns:
        0 where all are equal bit for bit, 1 where some are not, and the second run's own exit code if it did not come
        to its end.
    """
    if outcome.exit_code:
        terminal.warn(f"{outcome.run.path} did not come to its end; there is nothing to compare")
        return outcome.exit_code
    then, now = run.manifest.metrics, outcome.run.manifest.metrics
    changed = list(differing("scores", (then, now)))
    if not changed:
        terminal.say(f"reproduced: the {len(now)} metrics of {run.path} and {outcome.run.path} are equal bit for bit")
        return 0
    for one in changed:
        terminal.say(f"  {one.name}: {' -> '.join(one.values)}")
    parts = ", ".join(dict.fromkeys(one.part for one in found))
    reason = f"these differ as well: {parts}" if parts else "though nothing else that is recorded differs"
    terminal.warn(f"not reproduced: {len(changed)} of {len(then)} metrics differ; {reason}")
    return 1


def _data(manifest: Manifest, config: EffectiveConfig) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The data set then, and the one that the config would use now; nothing is simulated or calibrated to see it."""
    if manifest.data is None or not isinstance(config.data, NominalData):
        return {}, {}
    planet_ids = sorted((one for split in manifest.data.planets.values() for one in split), key=int)
    root = Path(manifest.data.root if manifest.data.simulated else config.paths.data_root).expanduser()
    if manifest.data.simulated and not Dataset.present(root):
        return {}, {}  # What is made anew depends on the code and the config alone.
    try:
        here = fingerprint(Dataset(root), planet_ids)[:12]
    except (ConfigError, OSError) as error:
        here = str(error).partition("\n")[0]
    return {"labels, names and sizes": manifest.data.fingerprint[:12]}, {"labels, names and sizes": here}
