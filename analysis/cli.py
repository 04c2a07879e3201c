"""The commands, their options, and what they print."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from analysis import environment
from analysis.errors import AnalysisError, InputError
from analysis.loading import load_callable

__all__ = ["main"]

_EPILOG = """\
MODEL is a torchvision name (mobilenet_v2), package.module:factory or path/to/file.py:factory;
a factory takes no argument and returns an nn.Module.

examples:
  python -m analysis groups mobilenet_v2 --ignore skip-channels
  python -m analysis verify mobilenet_v2 --ratios 0.3,0.5,0.8 --ignore residual-blocks
  python -m analysis macs resnet18 --ratios 0.5 --json -
  python -m analysis verify my_models.py:small_net --input-size 1,28,28
  python -m analysis report --out reports

exit status: 0 all checks pass, 1 a check fails, 2 bad input or usage
"""


class _Parser(argparse.ArgumentParser):
    """Answers bad usage with one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all checks pass, 1 if one fails, 2 on bad input.
    """
    options = _parser().parse_args(argv)
    # What third parties warn of while tracing is not the user's to mend, and errors are ours.
    warnings.simplefilter("ignore")
    try:
        return _COMMANDS[options.command](options)
    except AnalysisError as error:
        print(f"python -m analysis {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m analysis",
        description="Prove that a structurally pruned network is right, and what pruning bought.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, meaning in (
        ("groups", "list the dependency groups, and which a policy holds"),
        ("verify", "prune at each ratio and prove the result"),
        ("macs", "show where the MACs and parameters are, before and after"),
        ("report", "write the full report (without MODEL: the MobileNetV2 case study)"),
        ("doctor", "check that the installed packages work together"),
    ):
        command = commands.add_parser(
            name,
            help=meaning,
            description=meaning,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name != "doctor":
            _add_model_options(command, optional=name == "report")
    return parser


def _add_model_options(command: argparse.ArgumentParser, *, optional: bool) -> None:
    add = command.add_argument
    add("model", metavar="MODEL", nargs="?" if optional else None)
    add("--input-size", metavar="C,H,W", type=_size, help="of one input (default: the model's)")
    add("--weights", default="random", metavar="random|default|FILE", help="default: random")
    add("--seed", type=int, help="of random weights and inputs (default: 0)")
    if optional:
        add("--out", default="reports", metavar="DIR", help="default: reports")
        return
    add("--inputs", metavar="PKG.MOD:FUNCTION", help="returns what forward takes")
    add("--ratios", type=_ratios, metavar="R,R,...|START:STOP:STEP", help="in [0, 1)")
    add(
        "--ignore",
        default="classifier",
        metavar="POLICY|PKG.MOD:FUNCTION",
        help="residual-blocks, skip-channels, classifier (default), none, or your own function",
    )
    add("--scope", default="global", choices=("global", "local"))
    add("--importance", default="l1", choices=("l1", "l2"))
    add("--round-to", type=_positive, metavar="N", help="keep channel counts a multiple of N")
    add("--max-pruning-ratio", type=_share, default=1.0, metavar="R", help="in (0, 1]")
    add("--pruner", metavar="PKG.MOD:FUNCTION", help="(model, inputs, ratio) -> your own pruner")
    add("--device", default="cpu")
    add(
        "--budget",
        type=_seconds,
        default=120.0,
        metavar="SECONDS",
        help="for each run (default: 120)",
    )
    add("--json", metavar="FILE|-", help="write JSON; - is standard output, and nothing else")


def _size(text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(part) for part in text.split(","))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; expected e.g. 3,224,224")
    return size


def _ratios(text: str) -> tuple[float, ...]:
    from decimal import Decimal, InvalidOperation

    try:
        if ":" in text:
            start, stop, step = (Decimal(part) for part in text.split(":"))
            if step <= 0:
                raise argparse.ArgumentTypeError(f"{text!r} has a step that is not positive")
            count = int((stop - start) / step) + 1
            ratios = tuple(float(start + index * step) for index in range(count))
        else:
            ratios = tuple(float(Decimal(part)) for part in text.split(","))
    except (InvalidOperation, ValueError):
        ratios = ()
    if not ratios or not all(0 <= ratio < 1 for ratio in ratios):
        raise argparse.ArgumentTypeError(
            f"{text!r}: ratios are numbers in [0, 1); expected e.g. 0.3,0.5,0.8 or 0:0.9:0.1"
        )
    return ratios


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in (0, 1]")
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


def _doctor(options: argparse.Namespace) -> int:
    for package, version in environment.versions().items():
        print(f"{package:15} {version}")
    troubles = environment.diagnose()
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    if not troubles:
        print("all of them import together")
    return 1 if troubles else 0


def _dense(options: argparse.Namespace) -> tuple[Any, Any]:
    """The subject's record and its analysed dense network."""
    from dataclasses import replace

    import torch

    from analysis import pipeline, policies, subjects
    from analysis.records import SubjectInfo

    subject = subjects.resolve(options.model)
    if options.input_size:
        subject = replace(subject, input_size=options.input_size)
    seed = options.seed or 0
    if options.ignore not in policies.POLICIES:
        options.ignore_function = _function(options.ignore)
    given = load_callable(options.inputs, "--inputs")() if options.inputs else None
    model = subjects.build(subject, options.weights, seed)
    try:
        model.to(torch.device(options.device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {options.device!r} cannot be used: {' '.join(str(error).split())[:200]}"
        ) from error
    inputs = subjects.example_inputs(subject, model, given, seed)
    info = SubjectInfo(
        subject.name, None if given is not None else subject.input_size, options.weights, seed
    )
    return info, pipeline.analyse(model, inputs, options.budget)


def _function(reference: str) -> Any:
    if ":" in reference:
        return load_callable(reference, "--ignore")
    from analysis import policies

    raise InputError(
        f"unknown policy {reference!r}; expected one of {', '.join(policies.POLICIES)}, or "
        "package.module:function"
    )


def _policy(options: argparse.Namespace) -> Any:
    return getattr(options, "ignore_function", options.ignore)


def _runs(options: argparse.Namespace, dense: Any, ratios: Iterable[float]) -> list[Any]:
    from tqdm import tqdm

    from analysis.records import Config
    from analysis.study import checked_run

    factory = load_callable(options.pruner, "--pruner") if options.pruner else None
    configs = [
        Config(
            ratio,
            options.scope,
            options.importance,
            options.ignore,
            options.round_to,
            options.max_pruning_ratio,
        )
        for ratio in ratios
    ]
    # disable=None: a bar on a terminal, silence in a pipe.
    bar = tqdm(configs, desc=options.model, unit="run", disable=None, leave=False)
    return [checked_run(dense, config, _policy(options), factory, options.budget) for config in bar]


def _groups(options: argparse.Namespace) -> int:
    from analysis import grouping, policies
    from analysis.reporting import as_json, text

    info, dense = _dense(options)
    _raise_untraced(dense)
    ignored = policies.ignored_layers(_policy(options), dense.model, dense.groups)
    groups = grouping.hold(dense.groups, ignored)
    return _answer(options, as_json.groups(info, options.ignore, groups), text.groups(groups), 0)


def _raise_untraced(dense: Any) -> None:
    if dense.error is not None:
        raise InputError(f"{dense.error.verdict}: {dense.error.reason}")


def _verify(options: argparse.Namespace) -> int:
    from analysis.reporting import as_json, text

    _check_writable(options.json)
    info, dense = _dense(options)
    runs = _runs(options, dense, options.ratios or (0.3, 0.5, 0.8))
    status = 0 if all(run.passed for run in runs) else 1
    return _answer(options, as_json.verify(info, runs), text.runs(runs), status)


def _macs(options: argparse.Namespace) -> int:
    from analysis.reporting import as_json, text

    _check_writable(options.json)
    info, dense = _dense(options)
    runs = _runs(options, dense, options.ratios or ())
    broken = next((run for run in runs if run.costs is None), None)
    if broken is not None:
        raise InputError(
            f"ratio {broken.config.ratio:g} cannot be counted: {broken.verification.verdict}: "
            f"{broken.verification.reason}"
        )
    return _answer(options, as_json.macs(info, dense.costs, runs), text.macs(dense.costs, runs), 0)


def _check_writable(path: str | None) -> None:
    from analysis.reporting import files

    if path and path != "-":
        files.check_writable(path)


def _answer(options: argparse.Namespace, data: dict[str, Any], lines: str, status: int) -> int:
    from analysis.reporting import files

    if options.json == "-":
        print(json.dumps(data, indent=1))
        return status
    if options.json:
        files.write_text(options.json, json.dumps(data, indent=1) + "\n")
    print(lines)
    return status


def _report(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from analysis import study, subjects
    from analysis.reporting import files, text, write_report

    files.check_writable(f"{options.out}/results.json")
    chosen = [subjects.resolve(options.model)] if options.model else subjects.CASE_STUDY
    seed = study.SEED if options.seed is None else options.seed
    requests = [
        study.Request(subject.name, options.input_size or subject.input_size, options.weights, seed)
        for subject in chosen
    ]

    def progress(parts: Iterable[Any], total: int) -> Iterable[Any]:
        return tqdm(parts, total=total, desc="studying", unit="part", disable=None, leave=False)

    result = study.study(requests, progress)
    written = write_report(result, options.out)
    print(text.summary(result))
    print("\n".join(f"wrote {path}" for path in written))
    return 0 if result.passed else 1


_COMMANDS = {
    "groups": _groups,
    "verify": _verify,
    "macs": _macs,
    "report": _report,
    "doctor": _doctor,
}
