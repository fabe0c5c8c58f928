"""How the machines of an observatory train SpectraMind."""
