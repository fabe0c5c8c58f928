"""The space of a search: what varies, in Hydra's grammar of sweeps, and whether every part of it can be composed."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from spectramind_config import files
from spectramind_config.commands.jobs import MOST_POINTS, alternatives, mistakes, points
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.compose.overrides import COMMAND_LINE
from spectramind_config.errors import ConfigError, Problem, listed, nearest
from spectramind_config.schema.values import element

_TAGS = ("int", "float", "log")
_LARGEST = 1_000_000  # Bytes of a file.
_VARYING = "SETTING=interval(LOW,HIGH), range(LOW,END,STEP), choice(A,B) or A,B; tag(log,interval(LOW,HIGH)) by its log"


@dataclass(frozen=True)
class Dimension:
    """One override that varies."""

    key: str  # What it sets: a setting, or a group.
    argument: str  # The override as it was written.
    kind: Literal["choice", "int", "float"]  # One of some texts, or a number from ``low`` to ``high``.
    choices: tuple[str, ...] = ()  # The texts, as overrides write them.
    low: float = 0.0  # The smallest number.
    high: float = 0.0  # The largest.
    step: float | None = None  # What lies between two that may be taken; None for any.
    log: bool = False  # Whether numbers are drawn by their logarithm.


@dataclass(frozen=True)
class Space:
    """What a search varies, and what it does not."""

    words: tuple[str, ...]  # All overrides, in their order.
    dimensions: tuple[Dimension, ...]  # Those that vary.
    science: str  # The science fingerprint of its first corner.

    def overrides(self, values: Mapping[str, object]) -> list[str]:
        """The overrides of a point, given a value for the key of each dimension."""
        set_to = {one.argument: f"{one.key}={values[one.key]}" for one in self.dimensions}
        return [set_to.get(word, word) for word in self.words]


def read(words: Sequence[str]) -> dict[str, str]:
    """Overrides, and those in the lines of the files among the words; each with the place where it stands.

    A word without ``=`` is a file: an override a line, and none in lines that begin with ``#``.
    """
    found: dict[str, str] = {}
    for word in words:
        if "=" in word:
            found[word] = COMMAND_LINE
            continue
        try:
            text = files.read(Path(word), _LARGEST).decode()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            what = f"{word}: this file of a space cannot be read: {reason}"
            raise ConfigError(Problem(what=what, expected=f"a file, or {_VARYING}", see="sweep --help")) from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                found[line.strip()] = f"{word}:{number}"
    return found


def space(words: Mapping[str, str], root: type[Config]) -> Space:
    """The space that overrides span, given where each stands.

    Raises:
        ConfigError: With everything that is wrong: an override that would be refused at some corner, a dimension of
            another kind than its setting, one that no result depends on, a setting that is said twice, or no dimension.
    """
    problems = [*_twice(words), *(problem for word in words for problem in _wrong(word))]
    if not problems:
        problems = _told_once(mistakes(points(list(words), root), list(words), root))
    if not problems and all(_sweep(word) is None for word in words):
        problems = [Problem(what="nothing varies, so there is nothing to search for", expected=_VARYING)]
    if problems:
        raise root._root.error([_placed(one, words) for one in problems])
    first = [alternatives(word, root)[0][1] for word in words]
    base = compose(first, root)
    dimensions: list[Dimension] = []
    for place, word in enumerate(words):
        try:
            dimensions += _varying(word, place, first, base)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise root._root.error([_placed(one, words) for one in problems])
    return Space(tuple(words), tuple(dimensions), base.science_fingerprint)


def _told_once(problems: Sequence[Problem]) -> list[Problem]:
    """Problems without those that differ from another in the end of an interval, or in the value, only."""
    found: dict[tuple[str | None, ...], Problem] = {}
    for one in problems:
        is_interval = hasattr(_sweep(one.argument or ""), "end")
        found.setdefault((one.argument, one.expected, "" if is_interval else one.what.partition(": ")[2]), one)
    return list(found.values())


def _placed(problem: Problem, words: Mapping[str, str]) -> Problem:
    """A problem with the place of its override; one in a file is mended there."""
    place = words.get(problem.argument or "")
    problem = replace(problem, see="sweep --help" if problem.instead is None else None)
    if place in (None, COMMAND_LINE):
        return problem
    hint = f"write {problem.instead}" if problem.instead else problem.hint
    return replace(problem, origin=place, hint=hint, instead=None, see="sweep --help")


@functools.cache
def _sweep(word: str) -> Any:
    """What varies in an override, as Hydra parses it; None where nothing does, or where it cannot be parsed."""
    from hydra.errors import HydraException

    from spectramind_config.compose import grammar

    try:
        parsed = grammar.parser_of_hydra().parse_override(word)
    except (HydraException, RecursionError, ValueError):
        return None  # The composition tells what is wrong.
    return parsed._value if parsed.is_sweep_override() else None


def _refused(word: str, reason: str, **told: str | None) -> Problem:
    return Problem(what=f"{word}: {reason}", origin=COMMAND_LINE, argument=word, **told)


def _twice(words: Mapping[str, str]) -> Iterator[Problem]:
    keys: dict[str, str] = {}
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key in keys and {_sweep(word) is None, _sweep(keys[key]) is None} != {True}:
            reason = f"{key} is set twice, the first time by {keys[key]}, so one of them would have no effect"
            yield _refused(word, reason, instead="")
        keys[key] = word


def _wrong(word: str) -> Iterator[Problem]:
    """What is wrong with how an override varies, whatever it sets."""
    sweep = _sweep(word)
    tags = getattr(sweep, "tags", ())
    for tag in sorted(tags):
        if tag not in _TAGS:
            close = nearest(tag, _TAGS)
            instead = word.replace(tag, close) if close and word.count(tag) == 1 else None
            yield _refused(word, f"there is no tag '{tag}'", expected=listed(_TAGS), nearest=close, instead=instead)
    if not hasattr(sweep, "end"):
        if "log" in tags:
            yield _refused(word, "only an interval can be drawn by its logarithm", expected=_VARYING)
        return
    low, high = sweep.start, sweep.end
    if not (math.isfinite(low) and math.isfinite(high)):
        yield _refused(word, "an interval ends at finite numbers")
    elif low >= high:
        plain, turned = (f"{word.partition('=')[0]}=interval({a:g},{b:g})" for a, b in ((low, high), (high, low)))
        reason = f"the lower end of an interval comes first, and {low:g} is not below {high:g}"
        yield _refused(word, reason, instead=turned if low > high and word == plain else None)
    elif "log" in tags and low <= 0:
        yield _refused(word, f"its lower end is {low:g}, which has no logarithm", expected="a lower end above 0")


def _varying(word: str, place: int, first: Sequence[str], base: Config) -> Iterator[Dimension]:
    """The dimension that an override is, if it varies: one of those of the first corner, which compose to a base.

    Raises:
        ConfigError: There is one value only, an interval of what is no number, or no result depends on it; or some
            whole number within an interval is refused though its ends are not, as one that divides no other.
    """
    if (sweep := _sweep(word)) is None:
        return

    def composed(argument: str) -> Config:
        return compose([*first[:place], argument, *first[place + 1 :]], type(base))

    def refused(reason: str, **told: str) -> ConfigError:
        return ConfigError(_refused(word, reason, **told))

    key, ends = word.partition("=")[0], [ours for _, ours in alternatives(word, type(base))]
    texts = tuple(dict.fromkeys(one.partition("=")[2] for one in ends))
    if len(texts) == 1:
        raise refused("there is one value only, so nothing varies", instead=f"{key}={texts[0]}")
    value = _value_at(base, base._root.short.get(key.lstrip("+"), key.lstrip("+")))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    kind: Literal["int", "float"] = "int" if isinstance(value, int) else "float"
    found = Dimension(key, word, "choice", choices=texts)
    if hasattr(sweep, "end"):
        if not is_number:
            reason = f"{key} is no number, so an interval has nothing between its ends"
            raise refused(reason, expected=f"{key}=choice(A,B)")
        found = Dimension(key, word, kind, low=sweep.start, high=sweep.end, log="log" in sweep.tags)
    elif hasattr(sweep, "stop") and is_number:
        numbers = sorted(map(float, texts))
        found = Dimension(key, word, kind, low=numbers[0], high=numbers[-1], step=abs(float(sweep.step)))
    configs = list(map(composed, ends))
    if len({config.science_fingerprint for config in configs}) == 1:
        same = len(set(configs)) == 1
        means = "they all mean the same" if same else "it only says where or how visibly a run happens"
        reason = f"no result depends on which of these values {key} has: {means}"
        raise refused(reason, instead=first[place])
    mistakes: dict[int, str] = {}
    is_short = found.kind == "int" and found.high - found.low <= MOST_POINTS
    for number in range(int(found.low), int(found.high) + 1, int(found.step or 1)) if is_short else ():
        try:
            composed(f"{key}={number}")
        except ConfigError as error:
            mistakes[number] = error.problems[0].what
    for number, why in mistakes.items():
        reason = f"{len(mistakes)} of its numbers are refused, the first of them {number}: {why}"
        raise refused(reason, expected=f"{key}=range(LOW,END,STEP) or choice(A,B) of numbers that are not")
    yield found


def _value_at(config: Config, key: str) -> Any:
    """The value of a setting, or of an element of one; neither text nor number where there is none of that name."""
    leaf, inside = config._layers.stack.split(key)
    return element(config._layers.value(leaf), inside) if leaf else None
