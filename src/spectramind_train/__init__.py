"""Training of V50."""
