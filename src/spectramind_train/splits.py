"""The planets of a run, under the name that a data set of one's own imports."""

from spectramind_train.planets.splits import Splits, build_splits, split

__all__ = ["Splits", "build_splits", "split"]
