"""What our kitchen has."""

from dataclasses import dataclass

import spectramind_config as sc
from settings import Cup


@sc.profile("cup", "tin")
@dataclass(kw_only=True)
class Tin(Cup):
    """The tin cup, which burns fingers."""

    rate: float = 0.002
