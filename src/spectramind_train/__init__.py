"""Training of V50 on typed profiles: plan, planets, fit, score, manifest."""

import os

# Threads that wait for each other would spin; where cores are shared, that makes a step ten times slower. The OpenMP
# run time reads this when torch loads it, so it must be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
