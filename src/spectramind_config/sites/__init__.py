"""Profiles from packages, files and old YAML."""
