"""What a setting is, which ones exist, and where each is declared."""
