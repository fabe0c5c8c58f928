"""Loads the profiles of packages and of ``SM_PROFILES`` when Hydra starts, for applications other than ours."""

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SpectramindProfiles(SearchPathPlugin):
    """Hydra asks its plugins for search paths before it reads any config, which is the moment to be complete."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Complete the ConfigStore where the application uses ``spectramind_config`` at all."""
        if "spectramind_config" in sys.modules:
            from spectramind_config.site_profiles import load

            load()
