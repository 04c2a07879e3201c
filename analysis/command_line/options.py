"""The options of the commands, and how their values are read. They need no torch."""

import argparse
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from analysis.command_line.completion import PrintCompletion
from analysis.command_line.examples import epilog, overview
from analysis.environment import OWN
from analysis.errors import InputError
from analysis.records import (
    BUDGET,
    CONVENTIONS,
    CUTS,
    HEADS,
    IMPORTANCES,
    SCOPES,
    checked_widths,
    not_per_cent,
)

__all__ = ["parser", "paths_of", "ratios_of", "size_of"]

_MOST_RATIOS = 1000


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
    _add_thresholds(command)
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
    command.add_argument(
        "--out", default=".", metavar="DIR", help="where the files go (default: this folder)"
    )


def _add_report(command: argparse.ArgumentParser) -> None:
    _add_model_options(command, several=True)
    command.add_argument(
        "--against",
        metavar="FILE",
        help="results.json of an earlier report: the page shows what changed since",
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
    command.add_argument(
        "--target",
        type=_share,
        metavar="SHARE",
        help="find the smallest ratio that leaves at most this share, in (0, 1]",
    )
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
        help="what the share is of (default: macs)",
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
    add("--seed", type=_seed, metavar="N", help=f"of weights and inputs (default: {default})")
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
        type=_seconds,
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
    add(
        "dense",
        metavar="DENSE",
        help="the network before: a MODEL, an archive of torch.export, or a file with --factory",
    )
    add(
        "pruned",
        metavar="PRUNED",
        help="the network after: a MODEL, or a file of its tensors (safetensors, a state dict, "
        "torch.export's, ONNX)",
    )
    add("--factory", metavar="MODEL", help="builds the network that the tensors of DENSE are of")
    _add_inputs(command)
    add("--seed", type=_seed, default=0, metavar="N", help="of weights and inputs (default: 0)")
    add("--device", default="cpu")
    add("--budget", type=_seconds, default=BUDGET, metavar="SECONDS", help=f"default: {BUDGET:g}")


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
    add("--round-to", type=_positive, metavar="N", help="keep channel counts a multiple of N")
    add(
        "--max-pruning-ratio",
        type=_share,
        default=1.0,
        metavar="R",
        help="in (0, 1]; torch-pruning tests it before a cut, so one step of it may go beyond it",
    )


def _add_widths(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--widths",
        type=_widths,
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
        type=_whole,
        metavar="N",
        help="channels a group may lose more or fewer than asked (default: 1; N-1 more with "
        "--round-to N)",
    )
    add(
        "--max-dropped",
        type=_whole,
        default=0,
        metavar="N",
        help="groups that may be asked for channels and lose none (default: 0)",
    )
    add(
        "--min-channels",
        type=_positive,
        default=2,
        metavar="N",
        help="fewest channels that a pruned group may have left (default: 2)",
    )
    add(
        "--max-lost",
        type=_share,
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


def paths_of(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _widths(path: str) -> dict[str, int]:
    """The widths that a file holds; raises argparse's error for none."""
    try:
        with open(path, encoding="utf-8") as file:
            return checked_widths(json.load(file))
    except (OSError, ValueError, InputError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


def size_of(text: str) -> tuple[int, ...]:
    """The size that the text of an option stands for; raises argparse's error for none."""
    try:
        size = tuple(int(part) for part in text.split(","))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected e.g. 3,224,224")
    return size


def ratios_of(text: str) -> tuple[float, ...]:
    """The ratios that the text of an option stands for; raises argparse's error for none."""
    try:
        if ":" in text:
            start, stop, step = (Decimal(part) for part in text.split(":"))
            if step <= 0:
                raise argparse.ArgumentTypeError(f"{text!r} has a step that is not positive")
            count = min(int((stop - start) / step), _MOST_RATIOS) + 1
            ratios = tuple(float(start + index * step) for index in range(count))
        else:
            ratios = tuple(float(Decimal(part)) for part in text.split(","))
    except (InvalidOperation, ArithmeticError, ValueError):
        ratios = ()
    if not 0 < len(ratios) <= _MOST_RATIOS or not all(0 <= ratio < 1 for ratio in ratios):
        per_cent = 0 < len(ratios) <= _MOST_RATIOS and all(1 < ratio < 100 for ratio in ratios)
        meant = ",".join(f"{ratio / 100:g}" for ratio in ratios) if per_cent else ""
        raise argparse.ArgumentTypeError(
            f"{text!r}: ratios are numbers in [0, 1), at most {_MOST_RATIOS}; "
            + (f"did you mean {meant}?" if meant else "expected e.g. 0.3,0.5,0.8 or 0:0.9:0.1")
        )
    return ratios


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**63 - 1")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        hint = not_per_cent(value)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in (0, 1]{hint}")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
