"""The planets of a run: prepared from raw files, kept in a cache, divided into splits."""
