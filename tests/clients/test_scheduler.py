"""A parallel run of pytest ends, whatever a test does to its process."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import pytest
from scheduler import Scheduler

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduler(config, log)
"""
PASSES = "def test_{}(): pass\n"
ENDS = "def test_ends(): __import__('os')._exit(1)\n"


def run_tests(folder, files, processes, conftest=CONFTEST):
    for name, text in ({"conftest.py": conftest, "pytest.ini": "[pytest]\n"} | files).items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("files, passed", [
    ({"test_a.py": ENDS}, 0),
    ({"test_a.py": ENDS + PASSES.format("after")}, 1),
    ({"test_a.py": PASSES.format("before") + ENDS}, 1),
    ({"test_moto.py": PASSES.format("before") + ENDS + PASSES.format("after"), "test_b.py": PASSES.format("other")}, 3),
    ({f"test_{number}.py": PASSES.format("passes") for number in range(9)} | {"test_a.py": ENDS, "test_z.py": ENDS.replace("ends", "too")}, 9),
])  # fmt: skip
@pytest.mark.parametrize("processes", [1, 3])
def test_a_test_that_ends_its_process_fails_once_and_the_others_run(tmp_path, files, passed, processes):
    run = run_tests(tmp_path, files, processes)
    failed = sum("_exit" in text for text in files.values())
    assert f"{failed} failed, {passed} passed" in run.stdout if passed else f"{failed} failed" in run.stdout, run.stdout
    assert run.stdout.count("[gw") >= failed and run.returncode == 1


# A process has ended by the time that its next tests are sent to it.
SENDS_LATE = CONFTEST + """
import time
from xdist.workermanage import WorkerController

send = WorkerController.send_runtest_some
WorkerController.send_runtest_some = lambda node, tests: (time.sleep(0.5), send(node, tests))
"""


def test_tests_that_are_sent_to_a_process_that_has_ended_are_run_by_another(tmp_path):
    files = {"test_moto.py": PASSES.format("before") + ENDS + PASSES.format("after"), "test_b.py": PASSES.format("other")}
    run = run_tests(tmp_path, files, processes=1, conftest=SENDS_LATE)
    assert "1 failed, 3 passed" in run.stdout, run.stdout
