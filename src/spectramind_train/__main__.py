"""``python -m spectramind_train`` is ``spectramind train``."""

import sys

from spectramind_train.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
