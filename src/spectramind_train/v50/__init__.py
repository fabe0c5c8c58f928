"""The network: from light curves and a classical fit to a spectrum with uncertainties."""
