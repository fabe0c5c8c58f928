"""What every run has whatever it trains: its plan, its directory and what it says."""
