"""What each command does with its options, and what it prints."""

from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from analysis import grouping, pipeline, policies, study, subjects
from analysis.auditing import audit
from analysis.errors import AnalysisError, InputError
from analysis.inference import one_line
from analysis.loading import load_callable
from analysis.records import Config, Run, SubjectInfo
from analysis.reporting import as_json, files, text, write_report

__all__ = ["Answer", "groups", "macs", "report", "verify"]


@dataclass(frozen=True)
class Answer:
    """What a command says, and the exit status."""

    status: int
    text: str


def groups(options: Namespace) -> Answer:
    """List the dependency groups, those that the policy holds marked; 1 if an audit fails."""
    given = _prepare(options)
    if given.dense.error is not None:
        raise InputError(f"{given.dense.error.verdict}: {given.dense.error.reason}")
    ignored = policies.ignored_layers(given.policy, given.dense.model, given.dense.groups)
    held = grouping.hold(given.dense.groups, ignored)
    misread = audit(given.dense.model, given.dense.inputs, held) if options.audit else None
    data = as_json.groups(given.info, options.ignore, held, misread)
    passed = misread is None or not any(misread.values())
    return _answer(options, data, text.groups(held, misread), passed=passed)


def verify(options: Namespace) -> Answer:
    """Prune at each ratio and prove the result; 1 if a verdict or a check does not pass."""
    given = _prepare(options)
    runs = _runs(options, given, options.ratios or study.RATIOS)
    passed = all(run.passed for run in runs)
    return _answer(options, as_json.verify(given.info, runs), text.runs(runs), passed=passed)


def macs(options: Namespace) -> Answer:
    """Show where the MACs and parameters are, before and after each ratio."""
    given = _prepare(options)
    runs = _runs(options, given, options.ratios or ())
    for run in runs:
        if run.costs is None:
            raise InputError(
                f"ratio {run.config.ratio:g} cannot be counted: {run.verification.verdict}: "
                f"{run.verification.reason}"
            )
    costs = given.dense.costs
    return _answer(options, as_json.macs(given.info, costs, runs), text.macs(costs, runs))


def report(options: Namespace) -> Answer:
    """Write the whole report; 1 if a run that keeps the outputs does not pass."""
    files.check_writable(f"{options.out}/results.json")
    chosen = [subjects.resolve(options.model)] if options.model else subjects.CASE_STUDY
    seed = study.SEED if options.seed is None else options.seed
    result = study.study(
        [
            study.Request(
                subject.name, options.input_size or subject.input_size, options.weights, seed
            )
            for subject in chosen
        ],
        lambda parts, total: _bar(parts, total, "studying", "part"),
    )
    written = write_report(result, options.out)
    lines = [text.summary(result), *(f"wrote {path}" for path in written)]
    return Answer(0 if result.passed else 1, "\n".join(lines))


@dataclass(frozen=True)
class _Given:
    """The subject of a command, analysed, and the policy to apply to it."""

    info: SubjectInfo
    dense: pipeline.Dense
    policy: str | Callable[[nn.Module], Iterable[Any]]


def _prepare(options: Namespace) -> _Given:
    if options.json is not None and options.json != "-":
        files.check_writable(options.json)
    policy = _policy(options.ignore)
    subject = subjects.resolve(options.model)
    if options.input_size:
        subject = replace(subject, input_size=options.input_size)
    seed = options.seed or 0
    inputs = _user_inputs(options.inputs) if options.inputs else None
    model = _on_device(subjects.build(subject, options.weights, seed), options.device)
    inputs = subjects.example_inputs(subject, model, inputs, seed)
    info = SubjectInfo(
        subject.name, None if options.inputs else subject.input_size, options.weights, seed
    )
    return _Given(info, pipeline.analyse(model, inputs, options.budget), policy)


def _policy(reference: str) -> str | Callable[[nn.Module], Iterable[Any]]:
    if reference in policies.POLICIES:
        return reference
    if ":" not in reference:
        raise policies.unknown(reference)
    function: Callable[[nn.Module], Iterable[Any]] = load_callable(reference, "--ignore")
    return function


def _user_inputs(reference: str) -> Any:
    function = load_callable(reference, "--inputs")
    try:
        inputs = function()
    except AnalysisError:
        raise
    except Exception as error:
        raise InputError(
            f"--inputs {reference!r} raised {type(error).__name__}: {one_line(error)}; expected a "
            "function without arguments that returns what forward takes"
        ) from error
    if inputs is None:
        raise InputError(f"--inputs {reference!r} returned None; expected what forward takes")
    return inputs


def _on_device(model: nn.Module, device: str) -> nn.Module:
    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {device!r} cannot be used: {one_line(error)[:200]}; use cpu"
        ) from error


def _runs(options: Namespace, given: _Given, ratios: Iterable[float]) -> list[Run]:
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
    return [
        study.checked_run(given.dense, config, given.policy, factory, options.budget)
        for config in _bar(configs, len(configs), options.model, "run")
    ]


def _bar(items: Iterable[Any], total: int, title: str, unit: str) -> Iterable[Any]:
    """A progress bar on a terminal, silence in a pipe."""
    return tqdm(items, total=total, desc=title, unit=unit, disable=None, leave=False)


def _answer(options: Namespace, data: dict[str, Any], lines: str, *, passed: bool = True) -> Answer:
    status = 0 if passed else 1
    if options.json == "-":
        return Answer(status, as_json.dump(data).rstrip())
    if options.json:
        files.write_text(options.json, as_json.dump(data))
    return Answer(status, lines)
