"""Hydra's grammar of overrides, read so that a number keeps the text that it was written as.

A module of its own, since importing Hydra's parser takes as long as a tenth of Hydra, and few command lines need it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Override
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

from spectramind_config.schema.values import Written


class _Texts(HydraOverrideVisitor):
    """Keeps the text of numbers and truth values that stand outside of a function, and of what a sweep lists."""

    inside = 0
    listed: Sequence[str] = ()

    def visitPrimitive(self, ctx: Any) -> Any:  # noqa: N802 - the name of a rule of Hydra's grammar.
        value = super().visitPrimitive(ctx)
        return Written(value, ctx.getText().strip()) if isinstance(value, int | float) and not self.inside else value

    def visitDictKey(self, ctx: Any) -> Any:  # noqa: N802 - likewise.
        value, text = super().visitDictKey(ctx), ctx.getText().strip()
        return text if value is None else Written(value, text) if isinstance(value, int | float) else value

    def visitSimpleChoiceSweep(self, ctx: Any) -> Any:  # noqa: N802 - likewise.
        self.listed = [element.getText().strip() for element in ctx.element()]
        return super().visitSimpleChoiceSweep(ctx)

    def visitFunction(self, ctx: Any) -> Any:  # noqa: N802 - likewise.
        self.inside += 1
        try:
            return super().visitFunction(ctx)
        finally:
            self.inside -= 1


def parsed(argument: str) -> tuple[Override, Sequence[str]]:
    """What Hydra's parser makes of an override, with ``Written`` numbers, and the texts that a sweep lists."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(argument))
    lexer.removeErrorListeners()
    lexer.addErrorListener(listener)
    tokens = OverrideParser(CommonTokenStream(lexer))
    tokens.removeErrorListeners()
    tokens.addErrorListener(listener)
    texts = _Texts(parser_of_hydra().functions)
    found: Override = texts.visit(tokens.override())  # type: ignore[no-untyped-call]
    found.input_line = argument
    return found, texts.listed


@functools.cache
def parser_of_hydra() -> OverridesParser:
    """Hydra's own parser, for whole overrides with sweeps in them."""
    return OverridesParser.create()
