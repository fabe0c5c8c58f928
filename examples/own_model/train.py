"""Train the model of ``ridge.py``: ``python examples/own_model/train.py local=debug``, with any overrides."""

import sys
from pathlib import Path

from spectramind_train.cli import main

RIDGE = Path(__file__).with_name("ridge.py")

if __name__ == "__main__":
    sys.exit(main(["train", "model=ridge", *sys.argv[1:], f"--profiles={RIDGE}"]))
