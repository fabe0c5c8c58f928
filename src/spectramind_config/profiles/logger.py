"""The ``logger`` group."""

from dataclasses import dataclass
from typing import Annotated

from spectramind_config.schema.registry import profile
from spectramind_config.settings import OneOf, Profile, about

Style = OneOf["rich", "plain"]


@dataclass(kw_only=True)
class LoggerConfig(Profile):
    """How a run speaks to the terminal."""

    style: Annotated[Style, about(science=False)] = "rich"
    """rich draws progress bars and tables, plain writes lines"""


@profile("logger", "rich_console")
@dataclass(kw_only=True)
class RichConsole(LoggerConfig):
    """Progress bars and tables in the terminal."""
