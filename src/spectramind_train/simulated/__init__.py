"""A data set of simulated planets in the challenge's layout."""
