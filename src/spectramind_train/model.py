"""Models of spectra, under the name that a model of one's own imports."""

from spectramind_train.v50.network import V50, Batch, SpectrumModel, build_model

__all__ = ["V50", "Batch", "SpectrumModel", "build_model"]
