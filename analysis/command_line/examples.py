"""The examples that ``--help`` shows of each command."""

from analysis.environment import OWN

__all__ = ["EXAMPLES", "epilog", "overview"]

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "groups": (
        ("which channels go together", "mobilenet_v2 --ignore skip-channels"),
        ("why a layer is in its group", "mobilenet_v2 --why features.4.conv.2"),
        ("would torch-pruning cut any of them wrongly", "my_models.py:net --audit"),
        ("what your ignored layers exclude", "my_models.py:net --ignore my_models.py:kept --lint"),
    ),
    "verify": (
        ("prove a pruning", "mobilenet_v2 --ratios 0.3,0.5,0.8 --ignore residual-blocks"),
        ("your network, every check", "my_models.py:net --input-size 1,28,28 --checks all"),
        ("inputs other than one image", "my_models.py:detector --inputs my_models.py:batch"),
        ("your own pruner", "my_models.py:net --pruner my_models.py:pruner --ratios 0.5"),
        (
            "a failure as a short script, for an issue upstream",
            "my_models.py:net --ratios 0.5 --minimize counterexample.py",
        ),
    ),
    "prune": (
        ("prune, prove and save", "my_models.py:net --ratios 0.5 --save pruned"),
        ("for onnxruntime", "resnet18 --ratios 0.5 --round-to 8 --onnx resnet18.onnx"),
    ),
    "advise": (
        ("how to get to half of the MACs", "mobilenet_v2 --target macs=0.5 --round-to 8"),
        (
            "by your own metric, with a picture",
            "my_models.py:net --target macs=0.45 --evaluate metrics.py:accuracy --picture "
            "advice.svg",
        ),
    ),
    "sensitivity": (
        (
            "which groups your metric can spare, and ratios that leave half of the MACs",
            "my_models.py:net --evaluate metrics.py:accuracy --target macs=0.5 --records records",
        ),
        (
            "as a picture",
            "my_models.py:net --evaluate metrics.py:accuracy --ratios 0.3,0.6 --picture loss.svg",
        ),
    ),
    "latency": (
        ("where the time went, by layer", "mobilenet_v2 --ratios 0.5 --threads 1"),
        (
            "as it ships, with a page",
            "my_models.py:net --ratios 0.5 --backends eager,onnxruntime --out latency",
        ),
        ("the ratio that leaves 60 % of the time", "my_models.py:net --target latency=0.6"),
    ),
    "compare": (
        (
            "two networks",
            "my_models.py:net pruned.safetensors --input-size 3,32,32",
        ),
    ),
    "grid": (
        ("what is not done yet, on all cores", "grid.toml --records records"),
        ("on a cluster of dask", "grid.toml --records records --scheduler tcp://host:8786"),
        ("what there is to do", "grid.toml --records records --dry-run"),
    ),
    "macs": (
        ("each layer, before and after", "resnet18 --ratios 0.5 --json -"),
        ("the ratio that leaves half", "mobilenet_v2 --target 0.5 --ignore residual-blocks"),
        ("what each ratio leaves", "mobilenet_v2 --sweep 0.05:0.95:0.05"),
        (
            "a published architecture, counted as its table counts",
            "mobilenet_v2 --widths widths.json --convention conv-linear",
        ),
    ),
    "checks": (("the catalogue as data", "--json checks.json"),),
    "report": (
        ("the case study", "--out reports"),
        (
            "your networks side by side",
            "my_models.py:net resnet18 --input-size 3,64,64 --out my-report",
        ),
        (
            "with the differences to an earlier report",
            "my_models.py:net --against main/results.json --out my-report",
        ),
    ),
    "diff": (
        ("for the comment of a pull request", "main/results.json my-report/results.json"),
        ("as data", "main/results.json my-report/results.json --json changes.json"),
    ),
    "init": (
        ("a network that takes images", "my_package.models:net --input-size 3,32,32"),
        ("one that takes something else", "my_package.models:net --inputs my_package.data:batch"),
    ),
    "doctor": (("before anything else", ""),),
}
"""By command: the purpose of each example, and its arguments."""

_MODEL = """\
MODEL is a torchvision name (mobilenet_v2), package.module:factory or path/to/file.py:factory; a
factory takes no argument and returns an nn.Module.
"""
_STATUS = "exit status: 0 all checks pass, 1 a check fails, 2 bad input or usage, 130 interrupted\n"
_OF_DIFF = "exit status: 0 nothing got worse, 1 a regression, 2 bad input or usage\n"
_NAMES_NO_MODEL = ("checks", "compare", "diff", "doctor", "grid")


def epilog(command: str) -> str:
    """The text below the options of one command."""
    examples = [_example(command, *each) for each in EXAMPLES[command]]
    parts = ["examples:\n" + "".join(examples)]
    if command not in _NAMES_NO_MODEL:
        parts.insert(0, _MODEL)
    return "\n".join([*parts, _OF_DIFF if command == "diff" else _STATUS])


def overview() -> str:
    """The text below the list of commands: one example of each."""
    examples = [_example(command, *found[0]) for command, found in EXAMPLES.items()]
    return "\n".join(
        [
            _MODEL,
            "examples (more with COMMAND --help):\n" + "".join(examples),
            "in pytest: pytest --pyargs analysis.suite --model my_models.py:net\n",
            _STATUS,
        ]
    )


def _example(command: str, purpose: str, words: str) -> str:
    return f"  # {purpose}\n  {' '.join([OWN, command, words]).rstrip()}\n"
