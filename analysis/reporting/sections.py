"""What the report says: each claim with the numbers measured in this run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from analysis.records import (
    CheckResult,
    CostTable,
    Group,
    Mismatch,
    Run,
    Study,
    SubjectStudy,
    Turn,
    Verdict,
)
from analysis.reporting.figures import Drawing
from analysis.reporting.stages import stages
from analysis.reporting.tables import Table, bound, checks_passed, count, left, share
from analysis.reporting.text import not_counted

__all__ = ["Section", "sections"]

_CASE = ("residual-blocks", "global")


@dataclass(frozen=True)
class Section:
    """One question with its answer.

    Attributes:
        anchor: name in links.
        title: the claim.
        paragraphs: prose.
        tables: evidence.
        drawings: pictures, each with its data in one of the tables.
        tests: the file whose tests assert the claim.
    """

    anchor: str
    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = field(default=())
    tests: str = ""


def sections(study: Study, drawn: Sequence[Drawing]) -> list[Section]:
    """The report in order."""
    return [
        _verdict(study),
        _groups(study),
        _mismatch(study),
        _safety(study),
        _ranking(study),
        _savings(study, drawn),
        _attribution(study, drawn),
        _policies(study),
        _made_with(study),
    ]


def _of(drawn: Sequence[Drawing], question: str) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawn if drawing.question == question)


def _runs(study: Study) -> list[tuple[SubjectStudy, Run]]:
    return [(subject, run) for subject in study.subjects for run in subject.runs]


def _select(subject: SubjectStudy, policy: str, scope: str) -> list[Run]:
    return [run for run in subject.runs if (run.config.policy, run.config.scope) == (policy, scope)]


def _verdict(study: Study) -> Section:
    found = _runs(study)
    keeping = [run for _, run in found if run.config.policy != "none"]
    proved = [run for run in keeping if run.verification.verdict is Verdict.EXACT]
    cut = [run for _, run in found if run.config.policy == "none"]
    bounds = sorted({bound(run.verification) for run in proved}, key=len)
    sentences = [
        f"{len(proved)} of {len(keeping)} prunings that keep the model's outputs are proved "
        f"exact: the pruned network equals the masked dense network at every layer, in float64, "
        f"with a relative error {bounds[-1] if bounds else '-'}. " + _checked(keeping),
        f"The policy `none` also cuts the model's outputs: {_broken(cut)} of its {len(cut)} "
        "runs change the output shape and are `broken`, although the outputs that are left "
        "are right. (In a run that stays exact, every output ranked below the threshold, and "
        "torch-pruning drops a cut that would empty a layer.) For these networks, ignoring the "
        "classifier is the one exclusion that safety asks for.",
    ]
    for subject in study.subjects:
        sentences += [_bought(subject, run) for run in _select(subject, *_CASE)[-1:]]
    return Section("verdict", "Verdict", tuple(sentences))


def _checked(runs: Sequence[Run]) -> str:
    """How many pass every check, and why the others are no news."""
    whole = sum(not _failed(run) for run in runs)
    known = sum(bool(_failed(run)) and run.passed for run in runs)
    rest = f"; {known} fail only what is known to fail, see section 9" if known else ""
    return f"{whole} of them pass every check{rest}."


def _broken(runs: Iterable[Run]) -> int:
    return sum(run.verification.verdict is Verdict.BROKEN for run in runs)


def _bought(subject: SubjectStudy, run: Run) -> str:
    if run.macs.share is None or run.params.share is None:
        return f"{subject.info.name}: {run.verification.verdict}, {run.verification.reason}"
    return (
        f"{subject.info.name}: asking for {run.config.ratio:.0%} of the prunable channels under "
        f"`{run.config.policy}` removed {count(run.channels.removed)} channels and bought "
        f"{1 - run.macs.share:.1%} of the MACs and {1 - run.params.share:.1%} of the parameters."
    )


def _groups(study: Study) -> Section:
    tables: list[Table] = []
    sentences = [
        "A dependency group is a set of layers whose channels must go together. DepGraph "
        "(Fang et al., 2023) finds them by tracing: a layer that reads a channel is coupled to "
        "the one that makes it, a batch norm and a depthwise convolution to the channels they "
        "pass on, and an addition joins everything it adds.",
    ]
    for subject in study.subjects:
        joined = [group for group in subject.groups if group.additions]
        skips = sum(len(group.additions) for group in joined)
        inside = [group for group in joined if _depthwise_only(group)]
        sentences.append(
            f"{subject.info.name}: {len(subject.groups)} groups. {skips} skip connections join "
            f"{len(joined)} of them across blocks; {len(inside)} of those joined groups hold "
            "expansion channels (the ones a depthwise convolution filters), which stay inside "
            "their block."
        )
        tables += [_group_table(subject), _member_table(subject)]
    return Section(
        "groups",
        "1. Which layers must be cut together",
        tuple(sentences),
        tuple(tables),
        tests="tests/case_study/test_dependency_groups.py",
    )


def _depthwise_only(group: Group) -> bool:
    return any(member.kind.startswith("depthwise") for member in group.members)


def _group_table(subject: SubjectStudy) -> Table:
    return Table(
        f"{subject.info.name}: dependency groups",
        (
            "root",
            "width",
            "layers cut on their output",
            "layers cut on their input",
            "joined by additions in",
        ),
        tuple(
            (
                group.root,
                str(group.width),
                str(sum(member.axis == "out" for member in group.members)),
                str(sum(member.axis == "in" for member in group.members)),
                ", ".join(group.additions) or "-",
            )
            for group in subject.groups
        ),
    )


def _member_table(subject: SubjectStudy) -> Table:
    return Table(
        f"{subject.info.name}: members of each group and why they belong to it",
        ("group", "layer", "kind", "axis", "width", "coupled by"),
        tuple(
            (
                group.root,
                member.layer,
                member.kind,
                member.axis,
                str(member.width),
                f"{member.coupling} in {member.via}" if member.via else member.coupling,
            )
            for group in subject.groups
            for member in group.members
        ),
        wide=True,
    )


def _mismatch(study: Study) -> Section:
    tables: list[Table] = []
    sentences = [
        "A script that cuts one layer without its group breaks the network. Below, half of the "
        "channels of each residual block's projection (and of the batch norm behind it) are cut "
        "alone: the addition gets two widths. A depthwise convolution that is cut without the "
        "expansion that feeds it refuses its input. DepGraph's group for the same layer and the "
        "same channels is cut beside it, and proved.",
    ]
    for subject in study.subjects:
        for found, what in (
            (subject.residual, "skip connections"),
            (subject.depthwise, "depthwise convolutions"),
        ):
            raised = sum(bool(entry.error) for entry in found)
            proved = sum(entry.group.verdict is Verdict.EXACT for entry in found)
            sentences.append(
                f"{subject.info.name}: {raised} of {len(found)} {what} raise when cut alone; "
                f"{proved} of {len(found)} are exact when their group is cut."
            )
        tables += [
            _mismatch_table(f"{subject.info.name}: projection cut alone", subject.residual),
            _mismatch_table(
                f"{subject.info.name}: depthwise convolution cut alone", subject.depthwise
            ),
        ]
    return Section(
        "mismatch",
        "2. What a naive cut breaks",
        tuple(sentences),
        tuple(tables),
        tests="tests/case_study/test_residual_mismatch.py",
    )


def _mismatch_table(caption: str, found: Sequence[Mismatch]) -> Table:
    return Table(
        caption,
        (
            "block",
            "cut alone",
            "channels",
            "raised in",
            "operation",
            "shapes",
            "error",
            "its group",
        ),
        tuple(
            (
                entry.block,
                entry.layers[0],
                str(entry.channels),
                entry.raised_in,
                entry.function,
                " and ".join("x".join(map(str, shape)) for shape in entry.shapes),
                entry.error,
                f"{entry.group.verdict} ({bound(entry.group)})",
            )
            for entry in found
        ),
    )


def _safety(study: Study) -> Section:
    names = ", ".join(dict.fromkeys(fault.subject for fault in study.faults))
    planted, shape, changed, proof, located = (
        sum(getattr(fault, count) for fault in study.faults) for count in _FAULT_COUNTS
    )
    sentences = (
        "The masked dense network is the unpruned one with the removed channels silenced where "
        "they are read. It is built from the list of cuts alone. Constant batch-norm statistics, "
        "scales and shifts are made random first, because values that are equal for every "
        "channel hide faults. Error is the greatest relative difference over the outputs and "
        "every layer's kept channels.",
        f"Is the proof able to fail? Into {names}, each pruned by half, {planted} faults that keep "
        f"every shape were planted, one at a time: running the network and looking at its output "
        f"shape noticed {shape}, the proof {proof}, and it named the very layer {located} times. "
        f"{changed} change what a layer or the network puts out; the others meet a channel that is "
        "dead on the inputs drawn, and show in the weights, which must be the original ones.",
    )
    faults = Table(
        "faults planted, one at a time",
        ("fault", "planted", "seen by shape", "change the function", "seen by the proof", "named"),
        tuple(_fault_row(kind, study) for kind in dict.fromkeys(f.kind for f in study.faults)),
    )
    return Section(
        "safety",
        "3. Is it right?",
        sentences,
        (_run_table(study), faults),
        tests="tests/case_study/test_safe_pruning.py",
    )


_FAULT_COUNTS = ("planted", "seen_by_shape", "changed", "seen_by_proof", "located")


def _fault_row(kind: str, study: Study) -> tuple[str, ...]:
    of_kind = [fault for fault in study.faults if fault.kind == kind]
    return (
        kind,
        *(str(sum(getattr(fault, count) for fault in of_kind)) for count in _FAULT_COUNTS),
    )


def _run_table(study: Study) -> Table:
    return Table(
        "every run: what was asked, what was proved",
        ("subject", "policy", "scope", "ratio", "verdict", "rel. error", "checks passed", "failed"),
        tuple(
            (
                subject.info.name,
                run.config.policy,
                run.config.scope,
                f"{run.config.ratio:g}",
                run.verification.verdict,
                bound(run.verification),
                checks_passed(run),
                ", ".join(check.name for check in _failed(run)) or "-",
            )
            for subject, run in _runs(study)
        ),
    )


def _failed(run: Run) -> list[CheckResult]:
    return [check for check in run.checks if not check.passed]


def _ranking(study: Study) -> Section:
    sentences = [
        "torch-pruning's L1 importance is not the filter norm alone. It sums |w| for every "
        "coupled layer (filters on the output side, what reads the channel on the input side, "
        "|gamma| of batch norms; depthwise filters are left out), averages over the layers, and "
        "divides by the group's mean, so that groups of different scale can be ranked together. "
        "The column `same` says which share of the lowest-ranked channels the plain filter norm "
        "of the producing layers would have chosen too.",
    ]
    for subject in study.subjects:
        lowest = min(subject.ranking, key=lambda entry: entry.correlation, default=None)
        highest = max(subject.ranking, key=lambda entry: entry.correlation, default=None)
        if lowest and highest:
            sentences.append(
                f"{subject.info.name}: the two rankings correlate (Spearman) from "
                f"{lowest.correlation:.2f} in `{lowest.root}` to {highest.correlation:.2f} in "
                f"`{highest.root}`."
            )
    tables = tuple(
        Table(
            f"{subject.info.name}: importance against the plain filter norm",
            (
                "group",
                "width",
                "Spearman",
                *(f"same at {ratio:g}" for ratio, _ in subject.ranking[0].same),
            ),
            tuple(
                (
                    entry.root,
                    str(entry.width),
                    f"{entry.correlation:.2f}",
                    *(f"{same:.2f}" for _, same in entry.same),
                )
                for entry in subject.ranking
            ),
        )
        for subject in study.subjects
        if subject.ranking
    )
    return Section(
        "ranking",
        "4. What L1 ranks by",
        tuple(sentences),
        tables,
        tests="tests/case_study/test_l1_importance.py",
    )


def _savings(study: Study, drawn: Sequence[Drawing]) -> Section:
    sentences = [
        "The pruning ratio counts prunable channels. It is not the saving: layers that a policy "
        "holds keep their channels, a dense layer between two cut groups loses the product of "
        "both shares, a depthwise or normalisation layer loses one, and MACs and parameters are "
        "spread unevenly over the layers.",
    ]
    for subject in study.subjects:
        sentences += [_bought(subject, run) for run in _select(subject, *_CASE)]
        sentences += _turns(subject)
    tables = [_savings_table(study)]
    tables += [
        _curve_table(subject, scope) for subject in study.subjects for scope in ("global", "local")
    ]
    return Section(
        "savings",
        "5. 80 % is not 80 %",
        tuple(sentences),
        tuple(tables),
        _of(drawn, "curve"),
        tests="tests/case_study/test_savings.py",
    )


def _turns(subject: SubjectStudy) -> list[str]:
    """Say where asking for more keeps more, and which groups do."""
    return [
        f"{subject.info.name}, `{entry.policy}`, ranked {_SCOPES[entry.scope]}: the curve turns "
        "back upward at " + "; ".join(map(_turn, entry.curve.turns)) + "."
        for entry in subject.accounts
        if entry.curve.turns
    ]


_SCOPES = {"global": "globally", "local": "locally"}


def _turn(turn: Turn) -> str:
    causes = [f"`{root}` keeps {more} more ({reason})" for root, more, reason in turn.groups]
    rest = f" and {len(causes) - _CAUSES} more groups" if len(causes) > _CAUSES else ""
    return f"{turn.after.ratio:g}, where {', '.join(causes[:_CAUSES])}{rest}"


_CAUSES = 2
"""Groups that are named where a curve turns."""


def _savings_table(study: Study) -> Table:
    return Table(
        "asked and done",
        (
            "subject",
            "policy",
            "scope",
            "ratio",
            "channels prunable",
            "asked",
            "removed",
            "MACs before",
            "MACs after",
            "MACs left",
            "parameters before",
            "parameters after",
            "parameters left",
            "bytes before",
            "bytes after",
            "bytes left",
        ),
        tuple(
            (
                subject.info.name,
                run.config.policy,
                run.config.scope,
                f"{run.config.ratio:g}",
                count(run.channels.prunable),
                count(run.channels.requested),
                count(run.channels.removed),
                *(
                    cell
                    for sizes in (run.macs, run.params, run.bytes_)
                    for cell in (count(sizes.before), count(sizes.after), left(sizes))
                ),
            )
            for subject, run in _runs(study)
        ),
    )


def _curve_table(subject: SubjectStudy, scope: str) -> Table:
    curves = [(each.policy, each.curve) for each in subject.accounts if each.scope == scope]
    return Table(
        f"{subject.info.name}: share left at each ratio, ranked {_SCOPES[scope]}",
        (
            "ratio",
            *(f"MACs, {policy}" for policy, _ in curves),
            *(f"parameters, {policy}" for policy, _ in curves),
        ),
        tuple(
            (
                f"{points[0].ratio:g}",
                *(share(p.macs / c.dense_macs) for p, (_, c) in zip(points, curves, strict=True)),
                *(
                    share(p.params / c.dense_params)
                    for p, (_, c) in zip(points, curves, strict=True)
                ),
            )
            for points in zip(*(curve.points for _, curve in curves), strict=True)
        ),
        wide=True,
    )


def _attribution(study: Study, drawn: Sequence[Drawing]) -> Section:
    sentences = [
        "One MAC is one multiply-accumulate, which fvcore calls a flop. FLOPs in this report are "
        "MACs by fvcore's convention: convolutions and linear layers, two MACs an element for "
        "batch norm, one for adaptive pooling.",
    ]
    tables: list[Table] = []
    for subject in study.subjects:
        sentences += [
            _early_and_late(subject),
            f"{subject.info.name}: {not_counted(subject.costs)}",
        ]
        tables += [_stage_table(subject), _layer_table(subject)]
    return Section(
        "attribution",
        "6. Where the MACs are",
        tuple(sentences),
        tuple(tables),
        (*_of(drawn, "where"), *_of(drawn, "cut")),
        tests="tests/case_study/test_attribution.py",
    )


def _early_and_late(subject: SubjectStudy) -> str:
    found = stages(subject.costs)
    half = len(found) // 2
    macs = sum(stage.macs for stage in found[:half]) / subject.costs.macs
    params = sum(stage.params for stage in found[:half]) / subject.costs.params
    return (
        f"{subject.info.name}: the first {half} of {len(found)} blocks hold {macs:.1%} of the MACs "
        f"and {params:.1%} of the parameters."
    )


def _stage_table(subject: SubjectStudy) -> Table:
    runs = [run for run in _select(subject, *_CASE) if run.costs]
    after = [{stage.name: stage.macs for stage in stages(run.costs)} for run in runs if run.costs]
    found = stages(subject.costs)
    rows = [
        (
            stage.name,
            count(stage.macs),
            share(stage.macs / subject.costs.macs),
            count(stage.params),
            share(stage.params / subject.costs.params),
            *(count(costs.get(stage.name, 0)) for costs in after),
        )
        for stage in found
    ]
    rows.append(
        (
            "total",
            count(subject.costs.macs),
            "100.0%",
            count(subject.costs.params),
            "100.0%",
            *(count(sum(costs.values())) for costs in after),
        )
    )
    return Table(
        f"{subject.info.name}: blocks, and what `residual-blocks` (global ranking) leaves of them",
        (
            "block",
            "MACs",
            "share of MACs",
            "parameters",
            "share of parameters",
            *(f"MACs at {run.config.ratio:g}" for run in runs),
        ),
        tuple(rows),
    )


def _layer_table(subject: SubjectStudy) -> Table:
    runs = [run for run in _select(subject, *_CASE) if run.costs]
    held = set(dict(subject.ignored)["residual-blocks"])
    after = [run.costs.by_layer() for run in runs if run.costs]

    def state(layer: str, before: CostTable) -> str:
        cut = any(costs.get(layer) != before.by_layer()[layer] for costs in after)
        if layer in held:
            return "held, reads fewer channels" if cut else "held"
        return "cut" if cut else "whole"

    rows = [
        (
            row.layer or "(the model's own forward)",
            row.kind,
            state(row.layer, subject.costs),
            count(row.params),
            count(row.macs),
            share(row.macs / subject.costs.macs),
            *(count(costs[row.layer].macs if row.layer in costs else 0) for costs in after),
        )
        for row in subject.costs.layers
    ]
    rows.append(
        (
            "total",
            "",
            "",
            count(subject.costs.params),
            count(subject.costs.macs),
            "100.0%",
            *(count(run.costs.macs) for run in runs if run.costs),
        )
    )
    return Table(
        f"{subject.info.name}: every layer, and what `residual-blocks` (global ranking) does to it",
        (
            "layer",
            "kind",
            "state",
            "parameters",
            "MACs",
            "share",
            *(f"MACs at {run.config.ratio:g}" for run in runs),
        ),
        tuple(rows),
        wide=True,
    )


def _policies(study: Study) -> Section:
    sentences = [
        "A policy names the layers whose output channels must stay. DepGraph couples residual "
        "additions itself, so excluding whole residual blocks is a choice, not a need. "
        + _proved_policies(study)
        + " They differ in what they can save. `none` also cuts the classes.",
    ]
    tables = []
    for subject in study.subjects:
        for scope in sorted({run.config.scope for run in subject.runs}):
            tables.append(_policy_table(subject, scope))
        sentences += _excluded(subject)
    return Section(
        "policies",
        "7. What the exclusion costs",
        tuple(sentences),
        tuple(tables),
        tests="tests/case_study/test_policies.py",
    )


def _proved_policies(study: Study) -> str:
    verdicts: dict[str, set[Verdict]] = {}
    for _, run in _runs(study):
        verdicts.setdefault(run.config.policy, set()).add(run.verification.verdict)
    proved = [f"`{policy}`" for policy, found in verdicts.items() if found == {Verdict.EXACT}]
    return f"Proved exact in every run: {', '.join(proved) or 'none of them'}."


def _excluded(subject: SubjectStudy) -> list[str]:
    lasts = [
        runs[-1]
        for policy in ("residual-blocks", "skip-channels", "classifier")
        if (runs := _select(subject, policy, "global"))
    ]
    if len(lasts) < 3 or any(run.macs.share is None for run in lasts):
        return []
    blocks, skips, classifier = (left(run.macs) for run in lasts)
    return [
        f"{subject.info.name} at {lasts[0].config.ratio:.0%}, ranked globally: excluding the "
        f"residual blocks leaves {blocks} of the MACs, excluding only the channels that additions "
        f"join {skips}, excluding only the classifier {classifier}."
    ]


def _policy_table(subject: SubjectStudy, scope: str) -> Table:
    policies = list(dict.fromkeys(run.config.policy for run in subject.runs))
    rows = []
    for policy in policies:
        runs = _select(subject, policy, scope)
        rows.append(
            (
                policy,
                str(len(dict(subject.ignored)[policy])),
                count(runs[0].channels.prunable),
                ", ".join(dict.fromkeys(run.verification.verdict.value for run in runs)),
                *(left(run.macs) for run in runs),
                *(left(run.params) for run in runs),
            )
        )
    ratios = [f"{run.config.ratio:g}" for run in _select(subject, policies[0], scope)]
    return Table(
        f"{subject.info.name}: policies side by side, {scope} ranking",
        (
            "policy",
            "layers held",
            "channels prunable",
            "verdict",
            *(f"MACs left at {ratio}" for ratio in ratios),
            *(f"parameters left at {ratio}" for ratio in ratios),
        ),
        tuple(rows),
    )


def _made_with(study: Study) -> Section:
    subjects = "; ".join(
        f"{s.info.name}: inputs {'x'.join(map(str, s.info.input_size or ()))}, "
        f"{s.info.weights} weights, seed {s.info.seed}"
        for s in study.subjects
    )
    return Section(
        "made-with",
        "How this was made",
        (
            "Made by `tox run -e report`; made again on the same versions it is the same, byte "
            f"for byte. {subjects}.",
            "Not measured: accuracy (weights are random unless given, and nothing is trained), "
            "time (MACs are not time), activations and residual additions (fvcore has no rule for "
            "them; they are listed above).",
        ),
        (Table("versions", ("package", "version"), study.versions),),
    )
