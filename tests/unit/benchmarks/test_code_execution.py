"""Generated programs run contained: what is harmful fails and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from camelid.benchmarks import code_execution, sandboxed_child
from camelid.benchmarks.code_execution import run_program
from camelid.benchmarks.items import humaneval, mbpp, passed_share
from camelid.errors import ConfigError

contained = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="programs are contained on x86-64 Linux only",
)


@contained
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import math, re, collections, heapq\nassert math.gcd(4, 6) == 2", "passed"),
        ("print('much ' * 10**6)", "passed"),
        ("assert 1 == 2", "AssertionError"),
        ("def (", "SyntaxError"),
        # An early end is no pass.
        ("raise SystemExit(0)", "SystemExit"),
        ("import os\nos._exit(0)", "killed"),
        ("import os\nos.write(1, b'passed')\nos._exit(0)", "killed"),
        # No exit code stops the evaluation.
        ("import os\nos._exit(77)", "killed"),
        ("import sys\nsys._getframe().f_back", "forbidden: f_back"),
        ("import sys\nsys._getframe()", "forbidden: _getframe"),
        ("open('/proc/self/mem', 'rb')", "forbidden: /proc/"),
    ],
)
def test_a_program_passes_when_it_reaches_its_end(program, reason):
    assert run_program(program) == (reason == "passed", reason)


@contained
@pytest.mark.parametrize(
    "program",
    [
        "flag_frame = 3\nassert flag_frame == 3",
        "leaf_back, f_back = 1, 2\nassert leaf_back < f_back",
        "def get_objects(x):\n    return x\nassert get_objects(3) == 3",
        "class A:\n    def get_objects(self):\n        return 3\nassert A().get_objects() == 3",
        "# no f_back, no _getframe here",
        "currentframe = 'x'\nassert currentframe",
        "import re\nassert re.match('\\d', '1')",
    ],
)
def test_case_innocent_names(program):
    assert run_program(program).passed


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("import sys\nsys . _getframe()", "_getframe"),
        ("from sys import _getframe as f\nf()", "_getframe"),
        ("getattr(x, 'f_back')", "f_back"),
        ("getattr(x, b'f_back'.decode())", "f_back"),
        ("'{0.f_back}'.format(x)", "f_back"),
        ("f'{x.f_back}'", "f_back"),
        ("exec('import inspect; inspect.currentframe()')", "currentframe"),
        ("import gc\ngc.get_objects()", "get_objects"),
        ("from gc import get_referrers", "get_referrers"),
        ("__import__('g' + 'c').get_objects()", "get_objects"),
        ("from inspect import *\ncurrentframe()", "currentframe"),
        ("open('/proc/self/mem'", "/proc/"),
    ],
)
def test_what_looks_inside_is_refused(program, word):
    assert run_program(program) == (False, f"forbidden: {word}")


@contained
@pytest.mark.parametrize(
    "completion",
    [
        "    return None\n@(lambda f: (lambda candidate: None))",
        "    return None\nx = (",
        "    return None\nx = '''",
        "    return None\nif False:",
        "    return None\nx = 1 \\",
        "    return None\nraise SystemExit",
        "    return None\ndef check(candidate):\n    pass",
    ],
)
def test_case_trailing_decorator_swallows_no_tests(completion):
    item = {
        "program": "def f(x):\n",
        "tests": "def check(candidate):\n    assert candidate(1) == 1\ncheck(f)\n",
    }
    assert passed_share(item, ["    return x", completion], k=1) == 0.5


@contained
def test_tests_see_what_the_program_defined_as_its_module_does():
    program = "import sys\nx = [1]\ndef f():\n    return x, sys.modules['__main__'].x, __name__"
    assert run_program(program, "x = [2]\nassert f() == ([2], [2], '__main__')").passed
    assert run_program("x = 1", "assert x == 2") == (False, "AssertionError")


@contained
@pytest.mark.parametrize(
    ("program", "reasons"),
    [
        # The first fork fails, so nothing multiplies even if this were not a test.
        ("import os\nwhile True:\n    os.fork()", {"PermissionError"}),
        ("import subprocess\nsubprocess.run(['/bin/ls'])", {"PermissionError"}),
        ("import os\nos.execv('/bin/true', ['true'])", {"PermissionError"}),
        ("import threading\nthreading.Thread(target=print).start()", {"RuntimeError"}),
        ("import socket\nsocket.socket()", {"PermissionError"}),
        ("while True:\n    pass", {"killed", "timeout"}),
        ("import time\ntime.sleep(60)", {"timeout"}),
        ("x = bytearray(8 << 30)", {"MemoryError"}),
        (
            "x = []\nwhile True:\n    x.append('a' * 10**7 + str(len(x)))",
            # Time may end before memory does where the machine is busy.
            {"MemoryError", "killed", "timeout"},
        ),
        ("import os\nos.kill(os.getpid(), 0)", {"PermissionError"}),
        ("import os\nos.setuid(0)", {"PermissionError"}),
        ("import os\nos.mkdir('folder')", {"PermissionError"}),
        ("import os\nfor i in range(64):\n    os.dup(1)", {"PermissionError"}),
        # A flood into the pipe of the verdict blocks and is stopped.
        ("import os\nwhile True:\n    os.write(3, b'x' * 65536)", {"timeout"}),
    ],
)
def test_a_harmful_program_is_contained_and_fails(program, reasons):
    start = time.monotonic()
    outcome = run_program(program, seconds=2)
    assert not outcome.passed
    assert outcome.reason in reasons
    assert time.monotonic() - start < 30


@contained
@pytest.mark.parametrize(
    "attack",
    [
        "open({0!r}, 'w').write('x')",
        "open({0!r}, 'a')",
        "open({0!r}, 'r+')",
        "import os\nos.remove({0!r})",
        "import os\nos.rename({0!r}, {0!r} + '2')",
        "import os\nos.truncate({0!r}, 0)",
        "import os\nos.chmod({0!r}, 0)",
        "import os\nos.symlink({0!r}, {0!r} + '2')",
    ],
)
def test_no_file_changes(attack, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("whole")
    before = victim.stat()
    outcome = run_program(attack.format(str(victim)))
    assert outcome == (False, "PermissionError")
    assert victim.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [victim]
    assert victim.stat().st_mode == before.st_mode


def test_nothing_runs_where_it_cannot_be_contained(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    source = Path(sandboxed_child.__file__).read_text(encoding="utf-8")
    # The kernel's answer is "cannot": the rest of the child is as it is.
    child.write_text(source.replace("return bool(library.prctl", "return bool(1 == library.prctl"))
    monkeypatch.setattr(sandboxed_child, "__file__", str(child))
    marker = tmp_path / "ran"
    with pytest.raises(ConfigError, match="cannot contain generated programs"):
        code_execution.run_program(f"open({str(marker)!r}, 'w')")
    assert not marker.exists()


@contained
def test_real_solutions_pass_and_wrong_ones_fail(shared_data):
    with gzip.open(shared_data / "humaneval" / "HumanEval.jsonl.gz", "rt") as file:
        tasks = [humaneval(json.loads(line)) for line in file][::8]
    for task in tasks:
        assert passed_share(task, [task["answer"], "    return None\n"], k=1) == 0.5
    with gzip.open(shared_data / "mbpp" / "mbpp.jsonl.gz", "rt") as file:
        tasks = [mbpp(json.loads(line)) for line in file][10:500:40]
    for task in tasks:
        solution = task["answer"].removesuffix("[DONE]")
        assert passed_share(task, [solution], k=1) == 1
        assert passed_share(task, ["x = 1"], k=1) == 0


def test_the_child_needs_nothing_but_the_standard_library():
    done = subprocess.run(
        [sys.executable, "-I", "-S", sandboxed_child.__file__], capture_output=True, check=False
    )
    assert b"missing 4 required positional arguments" in done.stderr
