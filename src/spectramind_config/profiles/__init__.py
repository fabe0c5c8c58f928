"""The groups and profiles of a training run; they use the engine as a stranger's project does."""
