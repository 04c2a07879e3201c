"""The options of the commands, and how their values are read. They need no torch."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from analysis.command_line.completion import PrintCompletion
from analysis.command_line.examples import epilog, overview
from analysis.command_line.values import (
    paths_of,
    positive,
    ratios_of,
    seconds,
    seed_of,
    share,
    size_of,
    targets_in,
    tolerance,
    whole,
    widths_of,
)
from analysis.environment import OWN
from analysis.records import (
    BUDGET,
    CONVENTIONS,
    CUTS,
    HEADS,
    IMPORTANCES,
    SCOPES,
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
        description="Prove that a structurally pruned network is right, and what pruning bought.",
        epilog=overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    root.add_argument(
        "--print-completion",
        action=PrintCompletion,
        metavar="SHELL",
        help="print what completes commands and options in bash, zsh, tcsh, fish or powershell",
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
    _add_model_options(command)
    _add_pruner_options(command)
    _add_json(command)
    _add_questions(command)


def _add_verify(command: argparse.ArgumentParser) -> None:
    _add_model_options(command)
    _add_pruner_options(command)
    _add_json(command)
    _add_widths(command)
    _add_targets(command)
    _add_metrics(command)
    _add_thresholds(command)
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
    _add_model_options(command, own_pruner=False)
    _add_pruner_options(command, "local")
    _add_json(command)
    _add_widths(command)
    _add_targets(command)
    _add_metrics(command)
    _add_thresholds(command)
    command.add_argument(
        "--heads",
        choices=HEADS,
        default=HEADS[0],
        help="of attention whose code takes either: whole heads go, or as many channels of "
        "each (default: whole)",
    )
    _add_files(command)


def _add_macs(command: argparse.ArgumentParser) -> None:
    _add_model_options(command)
    _add_pruner_options(command)
    _add_json(command)
    _add_widths(command)
    _add_predictions(command)


def _add_init(command: argparse.ArgumentParser) -> None:
    _add_model_options(command)
    _add_targets(command)
    _add_metrics(command)
    command.add_argument(
        "--out", default=".", metavar="DIR", help="where the files go (default: this folder)"
    )


def _add_report(command: argparse.ArgumentParser) -> None:
    _add_model_options(command, several=True)
    _add_targets(command)
    _add_metrics(command)
    command.add_argument(
        "--against",
        metavar="FILE",
        help="results.json of an earlier report: the page shows what changed since",
    )


def _add_advise(command: argparse.ArgumentParser) -> None:
    _add_model_options(command, own_pruner=False)
    command.set_defaults(ignore=None)  # several are tried
    _add_targets(command)
    _add_rounding(command)
    _add_metrics(command)
    _add_json(command)
    command.add_argument(
        "--picture", metavar="FILE.svg", help="draw what was tried, and what is recommended"
    )


def _add_compare(command: argparse.ArgumentParser) -> None:
    _add_comparison(command)
    _add_json(command)


def _add_diff(command: argparse.ArgumentParser) -> None:
    command.add_argument("before", metavar="A/results.json", help="of the earlier report")
    command.add_argument("after", metavar="B/results.json", help="of the later report")
    _add_json(command)


def _add_questions(command: argparse.ArgumentParser) -> None:
    """What may be asked of the groups beside their list."""
    command.add_argument(
        "--audit",
        action="store_true",
        help="compare with torch-pruning's DepGraph: which would it cut wrongly, or not at all",
    )
    command.add_argument(
        "--lint",
        action="store_true",
        help="tell what the ignored layers exclude, fail to exclude, and need not exclude",
    )
    command.add_argument("--why", metavar="LAYER", help="tell why a layer is in its group, or none")
    command.add_argument(
        "--members", action="store_true", help="list every layer of every group as well"
    )
    command.add_argument("--dot", metavar="FILE", help="write the groups as a Graphviz graph")


def _add_predictions(command: argparse.ArgumentParser) -> None:
    """What may be asked of costs before anything is pruned."""
    _add_targets(command)
    command.add_argument(
        "--sweep",
        type=ratios_of,
        metavar="R,R,...|START:STOP:STEP",
        help="predict what each ratio leaves, and mark where groups drop out",
    )
    command.add_argument(
        "--target-of",
        choices=("macs", "params"),
        default="macs",
        help="what a share is of that is given alone (default: macs)",
    )
    command.add_argument(
        "--cut",
        choices=CUTS,
        default=CUTS[0],
        help="whose cut --target and --sweep predict: torch-pruning's own, which has no cost where "
        "it is not right, or the right one, by the groups (default: torch-pruning)",
    )
    command.add_argument(
        "--convention",
        choices=tuple(CONVENTIONS),
        default="fvcore",
        help="what counts, as a counter or a printed table has it (default: fvcore)",
    )


def _add_model_options(
    command: argparse.ArgumentParser, *, several: bool = False, own_pruner: bool = True
) -> None:
    add = command.add_argument
    add("model", metavar="MODEL", nargs="*" if several else None)
    _add_inputs(command)
    add("--weights", default="random", metavar="random|default|FILE", help="default: random")
    default = "0; of the case study 1, which has no near-ties in it" if several else "0"
    add("--seed", type=seed_of, metavar="N", help=f"of weights and inputs (default: {default})")
    if several:
        add("--out", default="reports", metavar="DIR", help="default: reports")
    add(
        "--ratios",
        type=ratios_of,
        metavar="R,R,...|START:STOP:STEP",
        help="in [0, 1) (verify and report: 0.3,0.5,0.8)",
    )
    add(
        "--ignore",
        default=None if several else "classifier",
        metavar="POLICY|NAME,NAME|PKG.MOD:FUNCTION",
        help="layers whose outputs stay: residual-blocks, skip-channels, classifier (default), "
        "none, names of layers, or your own function",
    )
    if own_pruner:
        add(
            "--pruner", metavar="PKG.MOD:FUNCTION", help="(model, inputs, ratio) -> your own pruner"
        )
    add("--device", default="cpu")
    add(
        "--budget",
        type=seconds,
        default=BUDGET,
        metavar="SECONDS",
        help=f"for each run (default: {BUDGET:g})",
    )


def _add_inputs(command: argparse.ArgumentParser) -> None:
    """What forward takes, and what counts of what it returns."""
    add = command.add_argument
    add("--input-size", metavar="C,H,W", type=size_of, help="of one input (default: the model's)")
    add("--inputs", metavar="PKG.MOD:FUNCTION|FILE.py:FUNCTION", help="returns what forward takes")
    add(
        "--outputs",
        type=paths_of,
        default=(),
        metavar="PATH,PATH",
        help="which outputs count, as logits, 0 or out.boxes; others are left out (default: all)",
    )


def _add_comparison(command: argparse.ArgumentParser) -> None:
    """Two networks, and what the first is run on."""
    add = command.add_argument
    add("dense", metavar="DENSE", help="the network before: a MODEL, or a file with --factory")
    add("pruned", metavar="PRUNED", help="the network after: a MODEL, or a file of its tensors")
    add("--factory", metavar="MODEL", help="builds the network that the tensors of DENSE are of")
    _add_inputs(command)
    add("--seed", type=seed_of, default=0, metavar="N", help="of weights and inputs (default: 0)")
    add("--device", default="cpu")
    add("--budget", type=seconds, default=BUDGET, metavar="SECONDS", help=f"default: {BUDGET:g}")


def _add_files(command: argparse.ArgumentParser) -> None:
    """Where a pruned network is written, once it is proved."""
    add = command.add_argument_group("what is written").add_argument
    add("--save", metavar="DIR", help="weights, and the pruning as data, for load_pruned")
    add("--onnx", metavar="FILE", help="an ONNX file")
    add("--export", metavar="FILE", help="what torch.export writes")


def _add_pruner_options(command: argparse.ArgumentParser, scope: str = "global") -> None:
    """What a pruner is asked; a report tries all policies and scopes."""
    add = command.add_argument
    add(
        "--scope",
        default=scope,
        choices=SCOPES,
        help=f"what is ranked together: all groups, or each alone (default: {scope})",
    )
    add("--importance", default="l1", choices=IMPORTANCES, help="the norm (default: l1)")
    _add_rounding(command)


def _add_rounding(command: argparse.ArgumentParser) -> None:
    """What a pruner is asked of each group, whatever ranks its channels."""
    add = command.add_argument
    add("--round-to", type=positive, metavar="N", help="keep channel counts a multiple of N")
    add(
        "--max-pruning-ratio",
        type=share,
        default=1.0,
        metavar="R",
        help="in (0, 1]; torch-pruning tests it before a cut, so one step of it may go beyond it",
    )


def _add_targets(command: argparse.ArgumentParser) -> None:
    """What is to be left at most; of several commands, so that all say it alike."""
    command.add_argument(
        "--target",
        type=targets_in,
        default=(),
        metavar="macs=SHARE,params=N,...",
        help="what is to be left at most, of macs, params or bytes: in (0, 1] a share, above a "
        "number; without --ratios, at the smallest ratio that meets all of it",
    )
    command.add_argument(
        "--fold-bn",
        action="store_true",
        help="count MACs and parameters as a device has them that folds batch norms",
    )


def _add_metrics(command: argparse.ArgumentParser) -> None:
    """What a network is worth, by functions of the user's own."""
    add = command.add_argument_group("what it costs in a metric of your own").add_argument
    add(
        "--evaluate",
        metavar="PKG.MOD:FUNCTION",
        help="of the model; returns a number or a dict of numbers, where more is better",
    )
    add(
        "--finetune",
        metavar="PKG.MOD:FUNCTION",
        help="of the model; trains the pruned network in place, which is measured again",
    )
    add(
        "--lower-is-better",
        type=paths_of,
        default=(),
        metavar="NAME,NAME",
        help="metrics of which less is better",
    )
    add(
        "--metric-loss",
        type=tolerance,
        metavar="X",
        help="fail where a metric loses more than this, in its own unit (default: not checked)",
    )


def _add_widths(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--widths",
        type=widths_of,
        default={},
        metavar="FILE.json",
        help='channels that are left, as {"layer": 24}, of groups that are cut as they are',
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", metavar="FILE|-", help="write JSON; - is standard output, and nothing else"
    )


def _add_thresholds(command: argparse.ArgumentParser) -> None:
    """Where the checks on asked against done draw the line."""
    command.add_argument(
        "--checks",
        type=paths_of,
        metavar="NAME,NAME|all",
        help="which checks run (default: those about the pruning itself; see the command checks)",
    )
    add = command.add_argument_group("what may be missed").add_argument
    add(
        "--ratio-tolerance",
        type=whole,
        metavar="N",
        help="channels a group may lose more or fewer than asked (default: 1; N-1 with "
        "--round-to N)",
    )
    add(
        "--max-dropped",
        type=whole,
        default=0,
        metavar="N",
        help="groups that may be asked for channels and lose none (default: 0)",
    )
    add(
        "--min-channels",
        type=positive,
        default=2,
        metavar="N",
        help="fewest channels that a pruned group may have left (default: 2)",
    )
    add(
        "--max-lost",
        type=share,
        default=0.99,
        metavar="SHARE",
        help="greatest share of its channels that a group may lose, in (0, 1] (default: 0.99)",
    )


_COMMANDS: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None]], ...] = (
    (
        "groups",
        "list the channels that go together, why, and which a policy excludes",
        _add_groups,
    ),
    ("verify", "prune at each ratio and prove the result", _add_verify),
    ("prune", "prune by the groups as they are, prove it, and save what was pruned", _add_prune),
    (
        "advise",
        "prune to a target in several ways, prove each, and recommend one",
        _add_advise,
    ),
    (
        "compare",
        "tell which channels of one network are left in another, and prove it",
        _add_compare,
    ),
    ("macs", "show where the MACs and parameters are, before and after", _add_macs),
    ("checks", "list the checks: what each means and needs", _add_json),
    (
        "report",
        "write a page on networks (without MODEL: the MobileNetV2 case study)",
        _add_report,
    ),
    ("diff", "compare two reports: what got worse or better, what is new or gone", _add_diff),
    (
        "init",
        "write a test, a tox environment and a GitHub workflow that gate a network",
        _add_init,
    ),
    ("doctor", "check that the installed packages work together", lambda _: None),
)
