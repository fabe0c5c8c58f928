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
from spectramind_config.errors import ConfigError, Problem, listed, nearest
from spectramind_config.schema.values import entries

_TAGS = ("int", "float", "log")
_LARGEST = 1_000_000  # Bytes of a file.
_VARYING = "SETTING=interval(LOW,HIGH), range(LOW,END,STEP), choice(A,B) or A,B; tag(log,interval(LOW,HIGH)) by its log"


@dataclass(frozen=True)
class Dimension:
    """One override that varies.

    Attributes:
        key: What it sets: a setting, or a group.
        argument: The override as it was written.
        kind: ``choice`` takes one of some texts, ``int`` and ``float`` a number from ``low`` to ``high``.
        choices: The texts, as overrides write them.
        low: The smallest number.
        high: The largest.
        step: What lies between two that may be taken; None for any.
        log: Whether numbers are drawn by their logarithm.
    """

    key: str
    argument: str
    kind: Literal["choice", "int", "float"]
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Space:
    """What a search varies, and what it does not.

    Attributes:
        words: All overrides, in their order.
        dimensions: Those that vary.
        science: The science fingerprint of its first corner.
    """

    words: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    science: str

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
            found[word] = "command line"
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
    varying = [word for word in words if _sweep(word) is not None]
    if not (varying or problems):
        problems = [Problem(what="nothing varies, so there is nothing to search for", expected=_VARYING)]
    if problems:
        raise root._root.error([_placed(one, words) for one in problems])
    first = [alternatives(word, root)[0][1] for word in words]
    base = compose(first, root)
    found: list[Dimension] = []
    for word in varying:
        one = _dimension(word, base, root)
        place = list(words).index(word)
        problem = one if isinstance(one, Problem) else _idle(one, first, place, root) or _torn(one, first, place, root)
        if problem is None and isinstance(one, Dimension):
            found.append(one)
        elif problem is not None:
            problems.append(problem)
    if problems:
        raise root._root.error([_placed(one, words) for one in problems])
    return Space(tuple(words), tuple(found), base.science_fingerprint)


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
    if place is None or place == "command line":
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


def _twice(words: Mapping[str, str]) -> Iterator[Problem]:
    keys: dict[str, str] = {}
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key in keys and {_sweep(word) is None, _sweep(keys[key]) is None} != {True}:
            what = f"{word}: {key} is set twice, the first time by {keys[key]}, so one of them would have no effect"
            yield Problem(what=what, origin="command line", argument=word, instead="")
        keys[key] = word


def _wrong(word: str) -> Iterator[Problem]:
    """What is wrong with how an override varies, whatever it sets."""
    sweep = _sweep(word)
    problem = functools.partial(Problem, origin="command line", argument=word)
    for tag in sorted(getattr(sweep, "tags", ())):
        if tag not in _TAGS:
            close = nearest(tag, _TAGS)
            instead = word.replace(tag, close) if close and word.count(tag) == 1 else None
            yield problem(
                what=f"{word}: there is no tag '{tag}'", expected=listed(_TAGS), nearest=close, instead=instead
            )
    if not hasattr(sweep, "end"):
        if sweep is not None and "log" in getattr(sweep, "tags", ()):
            yield problem(what=f"{word}: only an interval can be drawn by its logarithm", expected=_VARYING)
        return
    low, high = sweep.start, sweep.end
    if not (math.isfinite(low) and math.isfinite(high)):
        yield problem(what=f"{word}: an interval ends at finite numbers")
    elif low >= high:
        key = word.partition("=")[0]
        what = f"{word}: the lower end of an interval comes first, and {low:g} is not below {high:g}"
        written = f"interval({low:g},{high:g})"
        plain = low > high and word == f"{key}={written}"
        yield problem(what=what, instead=f"{key}=interval({high:g},{low:g})" if plain else None)
    elif "log" in sweep.tags and low <= 0:
        yield problem(what=f"{word}: its lower end is {low:g}, which has no logarithm", expected="a lower end above 0")


def _dimension(word: str, base: Config, root: type[Config]) -> Dimension | Problem:
    sweep, key = _sweep(word), word.partition("=")[0]
    tags: set[str] = getattr(sweep, "tags", set())
    texts = tuple(dict.fromkeys(ours.partition("=")[2] for _, ours in alternatives(word, root)))
    if len(texts) == 1:
        what = f"{word}: there is one value only, so nothing varies"
        return Problem(what=what, origin="command line", argument=word, instead=f"{key}={texts[0]}")
    value = _value_at(base, root._root.short.get(key.lstrip("+"), key.lstrip("+")))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hasattr(sweep, "end"):
        if not is_number:
            what = f"{word}: {key} is no number, so an interval has nothing between its ends"
            return Problem(what=what, origin="command line", expected=f"{key}=choice(A,B)", argument=word)
        kind: Literal["int", "float"] = "int" if isinstance(value, int) else "float"
        return Dimension(key, word, kind, low=sweep.start, high=sweep.end, log="log" in tags)
    if hasattr(sweep, "stop") and is_number:
        numbers = sorted(map(float, texts))
        kind = "int" if isinstance(value, int) else "float"
        return Dimension(key, word, kind, low=numbers[0], high=numbers[-1], step=abs(float(sweep.step)))
    return Dimension(key, word, "choice", choices=texts)


def _value_at(config: Config, path: str) -> Any:
    """The value of a setting, or of an element of one; None where there is none of that name."""
    inside: list[str] = []
    while path:
        try:
            value: Any = config.origin(path).value
        except ConfigError:
            path, _, name = path.rpartition(".")
            inside.insert(0, name)
            continue
        for name in inside:
            value = {str(key): item for key, item in entries(value).items()}.get(name)
        return value
    return None


def _torn(one: Dimension, first: Sequence[str], place: int, root: type[Config]) -> Problem | None:
    """Whether some whole number within an interval is refused though its ends are not, as one that divides no other."""
    if one.kind != "int" or one.high - one.low > MOST_POINTS:
        return None
    refused: dict[int, str] = {}
    for number in range(int(one.low), int(one.high) + 1, int(one.step or 1)):
        try:
            compose([*first[:place], f"{one.key}={number}", *first[place + 1 :]], root)
        except ConfigError as error:
            refused[number] = error.problems[0].what
    if not refused:
        return None
    number, reason = next(iter(refused.items()))
    what = f"{one.argument}: {len(refused)} of its numbers are refused, the first of them {number}: {reason}"
    expected = f"{one.key}=range(LOW,END,STEP) or choice(A,B) of numbers that are not"
    return Problem(what=what, origin="command line", expected=expected, argument=one.argument)


def _idle(one: Dimension, first: Sequence[str], place: int, root: type[Config]) -> Problem | None:
    """Why no result depends on a dimension; None where one does."""
    found = [compose([*first[:place], ours, *first[place + 1 :]], root) for _, ours in alternatives(one.argument, root)]
    if len({config.science_fingerprint for config in found}) > 1:
        return None
    means = "they all mean the same" if len(set(found)) == 1 else "it only says where or how visibly a run happens"
    what = f"{one.argument}: no result depends on which of these values {one.key} has: {means}"
    return Problem(what=what, origin="command line", argument=one.argument, instead=first[place])
