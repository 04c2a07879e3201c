"""``python -m tests.published``: compare every printed row with the cost model, for the site.

Writes ``published.json``; nothing in it depends on the machine.
"""

import argparse
import json
import sys
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.reporting.files import write_text
from tests.published.predicting import agrees, in_order, predicted
from tests.published.rows import ROWS, Row


def main() -> int:
    """Predict, write and summarize; 1 if a row is not as the file says."""
    parser = argparse.ArgumentParser(prog="python -m tests.published", description=__doc__)
    parser.add_argument("--out", default="reports", help="directory of published.json (reports)")
    target = Path(parser.parse_args().out) / "published.json"
    tested = in_order(row for row in ROWS if row.tested)
    found = {row.id: predicted(row) for row in tqdm(tested, desc="rows", disable=None)}
    rows = [_record(row, found.get(row.id)) for row in ROWS]
    write_text(target, json.dumps({"schema": 1, "rows": rows}, indent=1) + "\n")
    odd = [row.id for row in tested if agrees(row, found[row.id]) != (row.verdict == "agrees")]
    print("\n".join([f"{len(tested)} of {len(rows)} rows are tested", *odd, f"wrote {target}"]))
    return 1 if odd else 0


def _record(row: Row, number: Decimal | None) -> dict[str, Any]:
    """The row with what the closed form gives of it, as the row would print it."""
    said = {name: value for name, value in asdict(row).items() if name != "widths"}
    if number is None:
        return {**said, "found": None, "met": None}
    met = agrees(row, number)
    return {**said, "found": row.value if met else str(row.printed_of(number)), "met": met}


if __name__ == "__main__":
    sys.exit(main())
