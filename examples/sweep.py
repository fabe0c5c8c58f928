"""Composing in a loop, as in a notebook: what a config is, who set what, and which runs are the same science.

    python examples/sweep.py

Open it in an editor that knows ``# %%`` cells to run it piece by piece. It needs no torch and trains nothing.
"""

# %% One config, from the words of a command line. It is frozen, typed, and complete.

import itertools

import spectramind_config as sc

base = sc.compose(["trainer=multi_gpu", "local=hpc", "local.devices=8"])
print(f"{base!r}\nprecision {base.precision}, {base.devices} devices, strategy {base.strategy}")

# %% Who set a value, and what that hid. ``spectramind config explain precision …`` tells the same story.

origin = base.origin("precision")
print(f"\n{origin.path} = {origin.value}, set by {origin} ({origin.owner})")
for one in origin.shadowed:
    print(f"  over {one.value} of {one} ({one.owner})")

changed = [origin for origin in base.origins() if origin.layer == "override"]
print("overrides:", ", ".join(f"{origin.path} (was {origin.shadowed[0].value})" for origin in changed))

# %% A mistake is one message with the command to run instead.

try:
    base.with_overrides(["optimizer.lr=-1", "local.devcies=4"])
except sc.ConfigError as error:
    print(f"\n{error}")

# %% A sweep: the same config with more overrides behind it. A composition takes a fraction of a millisecond.

rates, workers = (1e-4, 3e-4, 1e-3), (8, 16)
points = [
    base.with_overrides([f"optimizer.lr={rate}", f"local.num_workers.train={count}"])
    for rate, count in itertools.product(rates, workers)
]

# %% Two configs are equal when their fingerprints are. The science fingerprint leaves out what only says where and how
# a run was computed (workers, devices, paths, logging): points that share it ask for the same result.

same_science: dict[str, list[sc.EffectiveConfig]] = {}
for point in points:
    same_science.setdefault(point.science_fingerprint, []).append(point)

print(f"\n{'learning rate':>13}  {'workers':>7}  fingerprint   science")
for science, group in same_science.items():
    for point in group:
        print(f"{point.optimizer.lr:>13g}  {point.num_workers.train:>7}  {point.fingerprint[:12]}  {science[:12]}")
print(f"{len(set(points))} different configs, {len(same_science)} different results to expect")
