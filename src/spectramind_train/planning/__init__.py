"""What a run will take of a host: memory, time, room for a cache."""
