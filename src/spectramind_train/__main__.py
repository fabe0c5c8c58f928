"""``python -m spectramind_train`` is ``spectramind train``."""

import sys

from spectramind_train.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    sys.exit(main())
