"""Fixtures shared by all tests."""

import gc
from functools import cache

import pytest

from analysis.processes.workers import preloaded
from analysis.records import Config

pytest_plugins = ["pytester"]

# What tests import, torch for one, is no garbage; to look for some in it takes a third of the time
# of the import. The process that hands out tests to others imports none of it.
gc.disable()

# Workers are forked with what takes long to import, whichever test begins the first.
preloaded.append("analysis.study")


@cache
def _dense(name: str):
    from analysis import pipeline
    from analysis.network import subjects
    from analysis.study import SEED

    subject = subjects.resolve(name)
    model = subjects.build(subject, seed=SEED)
    return pipeline.analyse(model, subjects.example_inputs(subject, model, None, SEED))


@cache
def _outcome(name: str, config: Config):
    from analysis import pipeline

    return pipeline.prune_and_prove(_dense(name), config, config.policy)


@pytest.fixture(scope="session")
def dense_of():
    """The analysed dense network of a case-study subject, made once a process."""
    return _dense


@pytest.fixture(scope="session")
def outcome_of():
    """One proved pruning, made once a process; the tests of one run share it."""
    return _outcome


# Files of few tests that take long, each of many networks.
_LONG = ("tests/properties/", "tests/case_study/", "tests/unit/zoo/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_collection_finish() -> None:
    """Look for garbage again, in what is new."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Leave nothing that libraries report as lost when the process ends."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of the case study in one process, as they look at the same prunings."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            study = "tests/case_study"
            return study if nodeid.startswith(f"{study}/") else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
