"""The options of the commands. They need no torch."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from analysis.command_line.completion import PrintCompletion
from analysis.command_line.examples import epilog, overview
from analysis.command_line.shared_options import (
    add_comparison,
    add_cut,
    add_files,
    add_json,
    add_metrics,
    add_model_options,
    add_predictions,
    add_pruner_options,
    add_questions,
    add_rounding,
    add_targets,
    add_thresholds,
    add_timing,
    add_widths,
)
from analysis.command_line.values import (
    positive,
    resources_of,
    seconds_of,
)
from analysis.environment import OWN
from analysis.records import (
    BUDGET,
    HEADS,
    IMPORTANCES,
)

__all__ = ["parser"]


class _Parser(argparse.ArgumentParser):
    """Answers bad usage with one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from analysis import __version__

        print(f"{OWN} {__version__}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser of every command; bad usage exits with 2 and one line."""
    root = _Parser(
        prog="pruning-analysis",
        description="Prove that a structurally pruned network is right, and show what it saves.",
        epilog=overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    root.add_argument(
        "--print-completion",
        action=PrintCompletion,
        metavar="SHELL",
        help="print a script that completes commands and options in bash, zsh, tcsh, fish or "
        "powershell",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning, add_options in _COMMANDS:
        command = commands.add_parser(
            name,
            help=meaning,
            description=meaning,
            epilog=epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(command)
    return root


def _add_groups(command: argparse.ArgumentParser) -> None:
    add_model_options(command)
    add_pruner_options(command)
    add_json(command)
    add_questions(command)


def _add_verify(command: argparse.ArgumentParser) -> None:
    add_model_options(command)
    add_pruner_options(command)
    add_json(command)
    add_widths(command)
    add_targets(command)
    add_metrics(command)
    add_thresholds(command)
    command.add_argument(
        "--shipped",
        metavar="FILE|DIR",
        help="prune nothing: prove a network that was pruned elsewhere, of which this holds the "
        "tensors, or the folder that prune --save wrote; its weights may have been trained",
    )
    command.add_argument(
        "--minimize",
        metavar="FILE.py",
        help="write a short script that shows the first failing ratio without this package",
    )


def _add_prune(command: argparse.ArgumentParser) -> None:
    add_model_options(command, own_pruner=False)
    add_pruner_options(command, "local")
    add_json(command)
    add_widths(command)
    add_targets(command)
    add_metrics(command)
    add_thresholds(command)
    command.add_argument(
        "--heads",
        choices=HEADS,
        default=HEADS[0],
        help="what attention loses where its code allows both: whole heads, or as many channels "
        "of each head (default: whole)",
    )
    add_files(command)


def _add_macs(command: argparse.ArgumentParser) -> None:
    add_model_options(command)
    add_pruner_options(command)
    add_json(command)
    add_widths(command)
    add_predictions(command)


def _add_init(command: argparse.ArgumentParser) -> None:
    add_model_options(command)
    add_targets(command)
    add_metrics(command)
    command.add_argument(
        "--out", default=".", metavar="DIR", help="folder for the files (default: this one)"
    )


def _add_report(command: argparse.ArgumentParser) -> None:
    add_model_options(command, several=True)
    add_targets(command)
    add_metrics(command)
    command.add_argument(
        "--against",
        metavar="FILE",
        help="results.json of an earlier report; the page shows the differences",
    )


def _add_advise(command: argparse.ArgumentParser) -> None:
    add_model_options(command, own_pruner=False)
    command.set_defaults(ignore=None)  # several are tried
    add_targets(command)
    add_rounding(command)
    add_metrics(command)
    add_json(command)
    command.add_argument(
        "--latency", action="store_true", help="time each pruning beside the dense network"
    )
    command.add_argument(
        "--picture", metavar="FILE.svg", help="draw what was tried, and what is recommended"
    )


def _add_sensitivity(command: argparse.ArgumentParser) -> None:
    add_model_options(command, own_pruner=False)
    add_targets(command)
    add_rounding(command)
    add_metrics(command, finetuned=False)
    add_json(command)
    add = command.add_argument
    add(
        "--importance",
        default="l1",
        choices=IMPORTANCES,
        help="how channels are ranked in their group (default: l1)",
    )
    add("--records", metavar="DIR", help="one file a cut; what is kept is not measured again")
    add("--fresh", action="store_true", help="measure again what has a record")
    add("--workers", type=positive, metavar="N", help="processes (default: one for each core)")
    add("--picture", metavar="FILE.svg", help="draw what each group loses as a heat map")
    add("--save", metavar="FILE.json", help="write the widths that are suggested, for --widths")


def _add_latency(command: argparse.ArgumentParser) -> None:
    add_model_options(command)
    add_pruner_options(command)
    add_cut(command)
    add_json(command)
    add_widths(command)
    add_targets(command)
    add_timing(command)


def _add_compare(command: argparse.ArgumentParser) -> None:
    add_comparison(command)
    add_json(command)


def _add_diff(command: argparse.ArgumentParser) -> None:
    command.add_argument("before", metavar="A/results.json", help="the earlier report")
    command.add_argument("after", metavar="B/results.json", help="the later report")
    add_json(command)


def _add_grid(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("grid", metavar="FILE.toml", help="ratios, policies, scopes, measures, and [[subject]]s")
    add("--records", required=True, metavar="DIR", help="one file a cell; kept ones are not redone")
    add("--dry-run", action="store_true", help="list the cells, and which of them are done")
    add("--fresh", action="store_true", help="do again what has a record")
    add(
        "--budget",
        type=seconds_of,
        default=BUDGET,
        metavar="SECONDS",
        help=f"for each cell (default: {BUDGET:g})",
    )
    add(
        "--memory",
        type=seconds_of,
        metavar="BYTES",
        help="that each cell may hold, as 8e9 (default: its part of the machine's)",
    )
    add("--workers", type=positive, metavar="N", help="processes here (default: one for each core)")
    add(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="of a running dask.distributed cluster that does the work, as tcp://host:8786",
    )
    add(
        "--resources",
        type=resources_of,
        default={},
        metavar="NAME=N,NAME=N",
        help="of the cluster's workers that each cell takes, as GPU=1,MEMORY=8e9",
    )


_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    (
        "groups",
        "list the channels that go together, why, and which a policy excludes",
        _add_groups,
    ),
    ("verify", "prune at each ratio and prove the result", _add_verify),
    ("prune", "prune a copy by its groups, prove it, and save it", _add_prune),
    (
        "advise",
        "prune to a target in several ways, prove each, and recommend one",
        _add_advise,
    ),
    (
        "sensitivity",
        "measure what your metric loses when one group alone is cut, and suggest ratios by group",
        _add_sensitivity,
    ),
    (
        "latency",
        "time each layer before and after pruning, in turn, and say why its time fell or did not",
        _add_latency,
    ),
    (
        "compare",
        "find which channels of one network another one kept, and prove the pruning",
        _add_compare,
    ),
    ("grid", "prune many networks in many ways, here or on a cluster, and resume", _add_grid),
    ("macs", "show where the MACs and parameters are, before and after pruning", _add_macs),
    ("checks", "list the checks, and what each means and needs", add_json),
    (
        "report",
        "write a report on networks (without MODEL: the MobileNetV2 case study)",
        _add_report,
    ),
    ("diff", "compare two reports: what got worse, better, is new or is gone", _add_diff),
    (
        "init",
        "write a test, a tox environment and a GitHub workflow that gate a network",
        _add_init,
    ),
    ("doctor", "check that the installed packages work together", lambda _: None),
)
