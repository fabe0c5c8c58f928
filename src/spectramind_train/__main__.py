"""``python -m spectramind_train`` is ``spectramind train``; ``main`` is ``spectramind``.

Signals are taken before anything else is imported, so that none ends an import with a traceback.
"""

import sys

from spectramind_train.run import signals


def main() -> int:
    """The program ``spectramind``; returns its exit code."""
    signals.install()
    from spectramind_train import cli

    return cli.main()


if __name__ == "__main__":
    sys.argv.insert(1, "train")
    sys.exit(main())
