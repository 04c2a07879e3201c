"""``python -m analysis.zoo``: prove every model of torchvision that has no record yet, in parallel.

With ``--networks``, look at those of other packages instead. It resumes where it was ended.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from analysis.errors import AnalysisError
from analysis.zoo.running import run


def main(argv: Sequence[str] | None = None) -> int:
    """Look at what has no record; 1 if something is not as known, 2 if it cannot start."""
    options = _options(argv)
    collected = import_module("analysis.zoo.collected")
    gathered = collected.OTHERS if options.networks else collected.TORCHVISION
    budget = options.budget or (_SECONDS_A_PART if options.networks else _SECONDS)
    out = options.out or f"reports/{gathered.name}.json"
    try:
        return run(gathered, options.models, out, budget, options.fresh)
    except AnalysisError as error:
        print(error, file=sys.stderr)
        return 2


_SECONDS = 600.0
_SECONDS_A_PART = 120.0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.zoo", description=__doc__)
    parser.add_argument("models", nargs="*", help="only these, printed and not written")
    parser.add_argument("--networks", action="store_true", help="networks of other packages")
    parser.add_argument("--fresh", action="store_true", help="look again at those with a record")
    parser.add_argument(
        "--budget",
        type=float,
        help=f"seconds a model ({_SECONDS:g}), or a part of a network ({_SECONDS_A_PART:g})",
    )
    parser.add_argument("--out", help="the file (reports/zoo.json, reports/networks.json)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
