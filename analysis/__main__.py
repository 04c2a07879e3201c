"""The command line: ``python -m analysis {groups,verify,macs,checks,report,doctor}``."""

import sys

from analysis.command_line.main import main

if __name__ == "__main__":
    sys.exit(main())
