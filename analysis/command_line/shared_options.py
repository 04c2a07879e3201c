"""Options that several commands share. They need no torch."""

import argparse

from analysis.command_line.values import (
    paths_of,
    positive,
    ratios_of,
    seconds_of,
    seed_of,
    share_of,
    size_of,
    targets_in,
    tolerance,
    whole,
    widths_in,
)
from analysis.records import (
    BACKENDS,
    BUDGET,
    CONVENTIONS,
    CUTS,
    FEWEST_PAIRS,
    IMPORTANCES,
    SCOPES,
)

__all__ = [
    "add_comparison",
    "add_cut",
    "add_files",
    "add_json",
    "add_metrics",
    "add_model_options",
    "add_predictions",
    "add_pruner_options",
    "add_questions",
    "add_rounding",
    "add_targets",
    "add_thresholds",
    "add_timing",
    "add_widths",
]


def add_questions(command: argparse.ArgumentParser) -> None:
    """Questions about the groups beyond their list."""
    command.add_argument(
        "--audit",
        action="store_true",
        help="list the groups that torch-pruning's DepGraph would cut wrongly, or not at all",
    )
    command.add_argument(
        "--lint",
        action="store_true",
        help="list what the ignored layers exclude, fail to exclude, and exclude without need",
    )
    command.add_argument(
        "--why", metavar="LAYER", help="explain why a layer is in its group, or in none"
    )
    command.add_argument(
        "--members", action="store_true", help="also list every layer of every group"
    )
    command.add_argument("--dot", metavar="FILE", help="write the groups as a Graphviz graph")


def add_predictions(command: argparse.ArgumentParser) -> None:
    """What may be asked of costs before anything is pruned."""
    add_targets(command)
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
    add_cut(command, "no cost is predicted where its cut is not right")
    command.add_argument(
        "--convention",
        choices=tuple(CONVENTIONS),
        default="fvcore",
        help="what is counted as a MAC: that of a counter or of a printed table (default: fvcore)",
    )


def add_cut(command: argparse.ArgumentParser, otherwise: str = "") -> None:
    """Whose cut is meant."""
    more = f"; {otherwise}" if otherwise else ""
    command.add_argument(
        "--cut",
        choices=CUTS,
        default=CUTS[0],
        help="torch-pruning's cut, or that of prune, by its own groups (default: "
        f"torch-pruning{more})",
    )


def add_timing(command: argparse.ArgumentParser) -> None:
    """How latency is measured, and where a page of it goes."""
    add = command.add_argument_group("how it is measured").add_argument
    add(
        "--backends",
        type=paths_of,
        default=BACKENDS[:1],
        metavar="NAME,NAME",
        help=f"what runs the networks, of {', '.join(BACKENDS)} (default: {BACKENDS[0]}); layers "
        "are timed in eager mode",
    )
    add("--threads", type=positive, metavar="N", help="of each operator (default: PyTorch's)")
    add(
        "--pairs",
        type=positive,
        default=30,
        metavar="N",
        help=f"how often both are timed in turn, at least {FEWEST_PAIRS} (default: 30)",
    )
    add("--out", metavar="DIR", help="write the page latency.md to this folder")


def add_model_options(
    command: argparse.ArgumentParser, *, several: bool = False, own_pruner: bool = True
) -> None:
    """The network, its inputs, and which channels to prune."""
    add = command.add_argument
    add(
        "model",
        metavar="MODEL",
        nargs="*" if several else None,
        help="a torchvision name, package.module:factory or file.py:factory",
    )
    _add_inputs(command)
    add(
        "--weights",
        default="random",
        metavar="random|default|FILE",
        help="random, torchvision's own (default), or a file (default: random)",
    )
    default = "0; of the case study 1, which has no near-ties in it" if several else "0"
    add(
        "--seed",
        type=seed_of,
        metavar="N",
        help=f"for random weights and inputs (default: {default})",
    )
    if several:
        add(
            "--out",
            default="reports",
            metavar="DIR",
            help="folder of the report (default: reports)",
        )
    add(
        "--ratios",
        type=ratios_of,
        metavar="R,R,...|START:STOP:STEP",
        help="pruning ratios in [0, 1) (default of verify and report: 0.3,0.5,0.8)",
    )
    add(
        "--ignore",
        metavar="POLICY|NAME,NAME|PKG.MOD:FUNCTION",
        help="layers that keep their outputs: a policy (residual-blocks, skip-channels, "
        "classifier, none), names of layers, or a function of the model (default: classifier)",
    )
    if own_pruner:
        add(
            "--pruner",
            metavar="PKG.MOD:FUNCTION",
            help="a function (model, inputs, ratio) that returns your own pruner",
        )
    _add_device_and_budget(command, "time limit for each pruning")


def _add_device_and_budget(command: argparse.ArgumentParser, limit: str) -> None:
    add = command.add_argument
    add("--device", default="cpu", help="where the network runs, such as cuda (default: cpu)")
    add(
        "--budget",
        type=seconds_of,
        default=BUDGET,
        metavar="SECONDS",
        help=f"{limit} (default: {BUDGET:g})",
    )


def _add_inputs(command: argparse.ArgumentParser) -> None:
    """What forward takes, and which of its outputs are compared."""
    add = command.add_argument
    add(
        "--input-size",
        metavar="C,H,W",
        type=size_of,
        help="size of one input (default: the model's)",
    )
    add(
        "--inputs",
        metavar="PKG.MOD:FUNCTION|FILE.py:FUNCTION",
        help="a function that returns what forward takes",
    )
    add(
        "--outputs",
        type=paths_of,
        default=(),
        metavar="PATH,PATH",
        help="the outputs to compare, such as logits, 0 or out.boxes (default: all)",
    )


def add_comparison(command: argparse.ArgumentParser) -> None:
    """Two networks, and the inputs of the first one."""
    add = command.add_argument
    add(
        "dense",
        metavar="DENSE",
        help="the dense network: a MODEL, an archive of torch.export, or a file with --factory",
    )
    add(
        "pruned",
        metavar="PRUNED",
        help="the pruned network: a MODEL, or a file of its tensors (safetensors, a state dict, "
        "torch.export, ONNX)",
    )
    add("--factory", metavar="MODEL", help="builds the network whose tensors DENSE holds")
    _add_inputs(command)
    add(
        "--seed",
        type=seed_of,
        default=0,
        metavar="N",
        help="for random weights and inputs (default: 0)",
    )
    _add_device_and_budget(command, "time limit")


def add_files(command: argparse.ArgumentParser) -> None:
    """Where a pruned network is written, once it is proved."""
    add = command.add_argument_group("files to write").add_argument
    add("--save", metavar="DIR", help="write weights and what was removed, for load_pruned")
    add("--onnx", metavar="FILE", help="write an ONNX file")
    add("--export", metavar="FILE", help="write a file of torch.export")


def add_pruner_options(command: argparse.ArgumentParser, scope: str = "global") -> None:
    """The request to a pruner; a report tries all policies and scopes."""
    add = command.add_argument
    add(
        "--scope",
        default=scope,
        choices=SCOPES,
        help=f"rank channels across all groups, or in each group alone (default: {scope})",
    )
    add(
        "--importance",
        default="l1",
        choices=IMPORTANCES,
        help="how channels are ranked (default: l1)",
    )
    add_rounding(command)


def add_rounding(command: argparse.ArgumentParser) -> None:
    """Limits of what a pruner removes of each group."""
    add = command.add_argument
    add("--round-to", type=positive, metavar="N", help="keep channel counts a multiple of N")
    add(
        "--max-pruning-ratio",
        type=share_of,
        default=1.0,
        metavar="R",
        help="greatest share of a group to remove, in (0, 1] (default: 1); torch-pruning tests it "
        "before a cut, so a single step can exceed it",
    )


def add_targets(command: argparse.ArgumentParser) -> None:
    """What is to be left at most; of several commands, so that all say it alike."""
    command.add_argument(
        "--target",
        type=targets_in,
        default=(),
        metavar="macs=SHARE,params=N,...",
        help="what is to be left at most, of macs, params, bytes or latency: in (0, 1] a share, "
        "above a number; without --ratios, at the smallest ratio that meets all of it",
    )
    command.add_argument(
        "--fold-bn",
        action="store_true",
        help="count MACs and parameters as a device has them that folds batch norms",
    )


def add_metrics(command: argparse.ArgumentParser, *, finetuned: bool = True) -> None:
    """What a network is worth, by functions of the user's own."""
    add = command.add_argument_group("what it costs in a metric of your own").add_argument
    add(
        "--evaluate",
        metavar="PKG.MOD:FUNCTION",
        help="of the model; returns a number or a dict of numbers, where more is better",
    )
    if finetuned:
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


def add_widths(command: argparse.ArgumentParser) -> None:
    """Channels that are left, in place of a ratio."""
    command.add_argument(
        "--widths",
        type=widths_in,
        default={},
        metavar="FILE.json",
        help='remove by groups until these channels are left, as {"layer": 24}',
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Where the result goes as JSON."""
    command.add_argument(
        "--json",
        metavar="FILE|-",
        help="write JSON to a file, or with - to standard output and nothing else",
    )


def add_thresholds(command: argparse.ArgumentParser) -> None:
    """The limits of the checks that compare what was asked with what was removed."""
    command.add_argument(
        "--checks",
        type=paths_of,
        metavar="NAME,NAME|all",
        help="the checks to run (default: those about the pruning itself; see the command checks)",
    )
    add = command.add_argument_group("limits of the checks").add_argument
    add(
        "--ratio-tolerance",
        type=whole,
        metavar="N",
        help="how many channels more or fewer than asked a group may lose (default: 1; N-1 more "
        "with --round-to N)",
    )
    add(
        "--max-dropped",
        type=whole,
        default=0,
        metavar="N",
        help="how many groups may lose none of the channels asked of them (default: 0)",
    )
    add(
        "--min-channels",
        type=positive,
        default=2,
        metavar="N",
        help="fewest channels that a pruned group may keep (default: 2)",
    )
    add(
        "--max-lost",
        type=share_of,
        default=0.99,
        metavar="SHARE",
        help="greatest share of its channels that a group may lose, in (0, 1] (default: 0.99)",
    )
