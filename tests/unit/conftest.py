"""Fixtures shared by the unit tests."""

import pytest


@pytest.fixture(scope="session")
def everything_is_imported() -> None:
    """For tests that run sessions of pytest inside this process.

    What these import is forgotten after them, and neither torch nor onnx can be imported twice.
    """
    from nets import Chain, inputs_for, make

    from analysis import pipeline
    from analysis.checks import CATALOGUE, evaluate
    from analysis.records import Config

    model = make(Chain)
    found = pipeline.prune_and_prove(
        pipeline.analyse(model, inputs_for(model)), Config(0.5), "classifier"
    )
    assert all(result.passed for result in evaluate(found, CATALOGUE))
