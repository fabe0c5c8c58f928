"""The challenge's data: files, detectors, light curves and the score."""
