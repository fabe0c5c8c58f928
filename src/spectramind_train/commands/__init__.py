"""The commands of ``spectramind`` that train, predict, and look at data and runs, a module for each kind."""
