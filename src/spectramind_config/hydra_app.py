"""Hydra's own way to start jobs: sweeps, launchers, ``--cfg`` and shell completion of ``spectramind train``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spectramind_config.composition import compose
from spectramind_config.effective import EffectiveConfig
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.overrides import SHORT_NAMES, alternatives
from spectramind_config.registry import ROOT

_SECTIONS = ("job", "hydra", "all")
_TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "--multirun": (),
    "-m": (),
    "--cfg": _SECTIONS,
    "-c": _SECTIONS,
    "--resolve": (),
    "--info": _TOPICS,
    "-i": _TOPICS,
    "--run": (),
    "-r": (),
    "--hydra-help": (),
    "--shell-completion": (),
    "-sc": (),
}
"""Hydra's flags that ``spectramind train`` passes on, with the values that each takes."""


@dataclass(frozen=True)
class CommandLine:
    """The arguments of ``spectramind train``, sorted.

    Attributes:
        overrides: Overrides of the run's config, short names written out.
        hydra: Overrides of Hydra itself, such as ``hydra/launcher=joblib``.
        flags: Hydra's flags with their values.
    """

    overrides: tuple[str, ...]
    hydra: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def sweeps(self) -> bool:
        """Whether several runs are asked for."""
        return "-m" in self.flags or "--multirun" in self.flags

    @property
    def needs_hydra(self) -> bool:
        """Whether Hydra has to start the job; a plain run does without, which is quicker."""
        return bool(self.hydra or self.flags)


def read(argv: Sequence[str]) -> CommandLine:
    """Sort the arguments of ``spectramind train``.

    Raises:
        ConfigError: A flag is unknown or lacks its value.
    """
    flags: list[str] = []
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            rest.append(word)
            continue
        name, equals, _ = word.partition("=")
        if name not in _FLAGS:
            raise ConfigError(
                Problem(
                    what=f"{word}: there is no such flag",
                    expected=", ".join(_FLAGS) + ", or overrides such as local=hpc",
                    nearest=nearest(name, _FLAGS),
                    argument=word,
                )
            )
        flags.append(word)
        choices = _FLAGS[name]
        if choices and not equals:
            if words and words[0] in choices:
                flags.append(words.pop(0))
            elif name not in ("--info", "-i"):
                raise ConfigError(Problem(what=f"{word}: it needs a value", expected="one of " + ", ".join(choices)))
    hydra = tuple(word for word in rest if re.match(r"[+~]*hydra\b", word))
    overrides = tuple(_written_out(word) for word in rest if word not in hydra)
    return CommandLine(overrides, hydra, tuple(flags))


def _written_out(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return f"{SHORT_NAMES.get(key, key)}{equals}{value}"


def check(command: CommandLine) -> None:
    """Check every run that a command line asks for, before the first one starts.

    Raises:
        ConfigError: A value of any of the runs is wrong.
    """
    if "-sc" in command.flags or "--shell-completion" in command.flags:
        return
    if not command.sweeps:
        compose(command.overrides)
        return
    choices = [alternatives(argument) for argument in command.overrides]
    first = [options[0] for options in choices]
    for position, options in enumerate(choices):
        for option in options:
            compose([*first[:position], option, *first[position + 1 :]])


def run(task: Callable[[EffectiveConfig], int], command: CommandLine, program: str) -> int:
    """Let Hydra start ``task``: once, or once for each point of a sweep.

    Returns:
        The largest exit code of the runs.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    codes = [0]

    def job(_: object) -> None:
        codes.append(task(compose(HydraConfig.get().overrides.task)))

    if line := os.environ.get("COMP_LINE"):
        # The shell asks Hydra to complete `spectramind train …`, and Hydra knows of no subcommands.
        os.environ["COMP_LINE"] = re.sub(r"^(\S+\s+)train\s+", r"\1", line)
    argv = sys.argv
    sys.argv = [program, *command.flags, *command.hydra, *command.overrides]
    try:
        hydra.main(version_base="1.3", config_path=None, config_name=ROOT)(job)()
    finally:
        sys.argv = argv
    return max(codes)
