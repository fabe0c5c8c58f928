"""From overrides to a frozen config with the origin of every value."""
