"""How tests run unless the command line says otherwise: several at a time, each with a limit."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 120
"""For one test; a few that are known to take longer have a mark of their own."""
WORKERS_PER_PROCESSOR = 2
"""Most tests wait for other processes most of the time."""
MAX_WORKERS = 4
"""More would disturb the tests that record at a rate."""
GROUPS = {
    "cameras": ("tests/drivers/test_basler", "tests/drivers/test_genicam", "tests/cli/test_cameras"),
    "rings": ("tests/buffers/test_ring", "tests/viewer/test_ring"),
    "flight": ("tests/faults/test_di", "tests/faults/test_power_cuts"),
    "corruption": ("tests/faults/test_damaged_files",),
    "oracle": ("tests/faults/test_oracle",),
    "plug-in": ("tests/drivers/test_plug_in",),
    "assets": ("tests/test_assets",),
    "benchmarks": ("tests/test_benchmarks",),
    "leaks": ("tests/test_leaks",),
    "protocol": ("tests/buffers/test_slot_protocol",),
    "leftovers": ("tests/files/test_recovering",),
    "kernels": ("tests/levels/test_compiled",),
    "cubes": ("tests/cli/test_export", "tests/cli/test_info", "tests/cli/test_verify"),
    "plots": ("tests/show/test_plots",),
    "reprocessed": ("tests/test_reprocess",),
    "notebook": ("tests/viewer/test_notebook",),
    "pages": (
        *("tests/viewer/test_live_page", "tests/viewer/test_recorder_page", "tests/viewer/test_cube_viewer"),
        *("tests/viewer/test_analysis_panel", "tests/viewer/test_trends", "tests/viewer/test_page_layout"),
        *("tests/flight/test_report",),
    ),
    "epics": ("tests/channels/test_epics",),
    "pva": ("tests/channels/test_pva",),
}
"""Tests that one worker runs, one after the other, by the beginnings of their paths.

The emulated cameras of pylon, of GenTL and of Aravis disturb each other, and the maker of a ring removes those of
dead ones. The others share what takes long to make, or take so long that they should begin first. All other tests go
to the worker that is free next.
"""

# else each of the many processes that tests start would compile the library again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# else each of them would start, and end, threads for linear algebra that it does not use
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# else each of them would look for plug-ins of pydantic in all packages that are installed
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")


def _take_default_signals() -> None:
    """Let the processes that tests start have the usual actions of signals.

    `nohup` and `&` in a script ignore some, which every child inherits: it would outlive what a test sends it. These
    tests themselves still ignore SIGHUP and SIGQUIT: a handler is not inherited.
    """
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", _ignore), ("SIGQUIT", _ignore)):
        number = getattr(signal, name, None)  # Windows has only the first
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def _ignore(*_: object) -> None:
    """Do nothing."""


_take_default_signals()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Set what could stand in `addopts` if pytest-xdist and pytest-timeout were always installed."""
    option = config.option
    if getattr(option, "timeout", 0) is None:
        option.timeout = TIMEOUT_S
    if hasattr(config, "workerinput"):
        # .../popen-gw0 becomes .../0: the path of a socket may not be longer than 107 bytes
        option.basetemp = str(Path(option.basetemp).with_name(config.workerinput["workerid"].removeprefix("gw")))
    elif getattr(option, "numprocesses", 0) is None and not _is_looked_at(option):
        option.numprocesses = min(WORKERS_PER_PROCESSOR * len(os.sched_getaffinity(0)), MAX_WORKERS)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Let each worker begin with other files: else all would rewrite and compile the same ones at the same time."""
    report = yield
    if isinstance(collector, pytest.Directory) and (worker := getattr(collector.config, "workerinput", None)):
        begin = int(worker["workerid"].removeprefix("gw")) * len(report.result) // worker["workercount"]
        report.result = [*report.result[begin:], *report.result[:begin]]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests as without workers, which must all have the same order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parts)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Spare the garbage collector what stays: a quarter of the time of collecting, and a part of each test's later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _is_looked_at(option: argparse.Namespace) -> bool:
    """Whether the user wants to see what goes on, in one process."""
    return bool(option.usepdb or option.trace or option.capture == "no" or option.collectonly)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out groups as a whole, the largest first, and then single tests.

    `--dist loadgroup` should do that, but that of pytest-xdist 3.8 does not group with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((name for name, begins in GROUPS.items() if nodeid.startswith(begins)), nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            # forget what is finished: else all that a worker has done is counted again after each test, and handed out
            # again when it dies, which other workers then wait for without end
            units = self.assigned_work.get(node, {})
            for scope in [scope for scope, tests in units.items() if all(tests.values())]:
                del units[scope]
            super()._assign_work_unit(node)

    return Scheduling(config, log)
