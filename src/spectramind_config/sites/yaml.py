"""YAML as settings read it: what a value is to OmegaConf, the text that it was written as, and the line it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from spectramind_config import files
from spectramind_config.errors import HIDDEN, ConfigError, Problem, hidden_in, is_secret
from spectramind_config.schema.values import Written

_MOST_BYTES = 10_000_000
_MOST_NODES = 200_000
_MOST_BITS = 1024  # Of a whole number.


def read(file: Path, *, expected: str, see: str) -> tuple[str, Any, dict[str, int]]:
    """The text of a YAML or JSON file, its values, ``Written`` where unquoted, and the line of every dotted path.

    Raises:
        ConfigError: It cannot be read, is no YAML, is a bomb of aliases, or says one thing twice. What was expected and
            the command that prints such a file are in it.
    """

    def unreadable(reason: str, line: int | None = None) -> ConfigError:
        origin = f"{file}:{line}" if line else None
        return ConfigError(Problem(what=f"{file}: {reason}", origin=origin, expected=expected, see=see))

    try:
        text = files.read(file, _MOST_BYTES).decode()
        loader = get_yaml_loader()(text)
        root = loader.get_single_node()
    except OSError as error:
        raise unreadable(error.strerror or str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise unreadable(f"not YAML or JSON: {reason}", mark and mark.line + 1) from None
    except (ValueError, RecursionError) as error:
        raise unreadable(f"not YAML or JSON: {error}") from None
    lines: dict[str, int] = {}
    visited = 0

    def value(node: yaml.Node, prefix: str, above: tuple[int, ...]) -> Any:
        nonlocal visited
        visited += 1
        if id(node) in above:
            raise unreadable("a value in it holds itself", node.start_mark.line + 1)
        if visited > _MOST_NODES or len(above) > 100:
            raise unreadable("it holds more than any configuration does", node.start_mark.line + 1)
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            found: dict[Any, Any] = {}
            for key, item in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise unreadable("a list or a dict is no name of a setting", key.start_mark.line + 1)
                name = f"{prefix}{key.value}"
                if key.value in found:
                    raise unreadable(f"{name} stands on line {lines[name]} already", key.start_mark.line + 1)
                lines[name] = key.start_mark.line + 1
                found[str(key.value)] = value(item, f"{name}.", inside)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [value(item, f"{prefix}{number}.", inside) for number, item in enumerate(node.value)]
        made = loader.construct_object(node, deep=True)
        if isinstance(made, int) and made.bit_length() > _MOST_BITS:
            raise unreadable("no setting takes a number of so many digits", node.start_mark.line + 1)
        if isinstance(made, str) and not made.isascii():
            with suppress(UnicodeDecodeError):  # JSON writes a character beyond the basic plane as two halves.
                made = made.encode("utf-16", "surrogatepass").decode("utf-16")
        is_text = made is None or isinstance(made, str) or getattr(node, "style", None) is not None
        return made if is_text else Written(made, node.value)

    try:
        return text, None if root is None else value(root, "", ()), lines
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise unreadable(f"not YAML or JSON: {str(error).partition(chr(10))[0]}") from None


def without_secrets(text: str) -> str:
    """A YAML text without the values of secret settings, be they mapped or those of overrides in a list."""

    def secrets(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, str]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if is_secret(key.value) and value.tag != "tag:yaml.org,2002:null":
                    yield value, f"'{HIDDEN}'"
                else:
                    yield from secrets(value)
        elif isinstance(node, yaml.SequenceNode):
            for one in node.value:
                yield from secrets(one)
        elif isinstance(node, yaml.ScalarNode) and (seen := hidden_in(node.value)) != node.value:
            yield node, yaml.safe_dump(seen, width=2**31).removesuffix("...\n").rstrip("\n")

    for node, seen in reversed(list(secrets(yaml.compose(text)))):
        after = "\n" * text[: node.end_mark.index].endswith("\n")  # A block of lines ends behind its last one.
        text = text[: node.start_mark.index] + seen + after + text[node.end_mark.index :]
    return text
