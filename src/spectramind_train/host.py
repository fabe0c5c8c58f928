"""What this machine offers; ``spectramind profiles new`` asks the same, without the training packages."""

from spectramind_config.host import Host

__all__ = ["Host"]
