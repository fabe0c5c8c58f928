"""Training of V50 on typed profiles: plan, planets, fit, score, manifest."""

import os

# Threads that wait for each other would spin for long; where cores are shared, that makes a step ten times slower.
# Where they are not, threads that sleep at once make it twice as slow, for the next piece of work is never far. So
# GNU's run time, which is torch's on Linux, spins for a moment; others sleep. It reads this when torch loads it.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
