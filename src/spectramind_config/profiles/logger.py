"""The ``logger`` group."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Profile, about, one_of

if TYPE_CHECKING:
    Style = Literal["rich", "plain"]
else:
    Style = one_of("rich", "plain")


@dataclass(kw_only=True)
class LoggerConfig(Profile):
    """How a run speaks to the terminal."""

    style: Annotated[Style, about(science=False)] = "rich"
    """rich draws progress bars and tables, plain writes lines"""


@profile("logger", "rich_console")
@dataclass(kw_only=True)
class RichConsole(LoggerConfig):
    """Progress bars and tables in the terminal."""
