"""For tests that need processes of their own: a script of `check_*` functions, run once, reported one by one."""

import ast
import json
import os
import pathlib
import subprocess
import sys
import traceback

HERE = pathlib.Path(__file__).parent
MARK = "RESULTS "


def checks(script):
    """Names of the checks in a script, without importing it."""
    tree = ast.parse((HERE / script).read_text())
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("check_")]


def run_checks(names):
    """In the script: runs all checks in order and prints what became of each, as it goes."""
    for name, check in names.items():
        if name.startswith("check_"):
            try:
                check()
                outcome = "passed"
            except BaseException:  # pytest's own failures are no `Exception`
                outcome = traceback.format_exc()[-2000:]  # short enough for a line that others do not break into
            print(MARK + json.dumps({name: outcome}), flush=True)


def start(script, *arguments, launcher=(), **environment):
    """Starts a script of this folder. Warnings are errors in it, as in the tests."""
    warnings = [
        "-W",
        "error",
        *(f"-Wdefault::{kind}Warning" for kind in ("Deprecation", "PendingDeprecation", "Future")),
    ]
    path = os.pathsep.join(
        [str(HERE), str(HERE.parent), str(HERE.parent / "examples"), os.environ.get("PYTHONPATH", "")]
    )
    return subprocess.Popen(
        [sys.executable, *(launcher or warnings), str(HERE / script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, timeout=300):
    """Output and errors of a process, ended if it takes too long; one that has started others ends them."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def results(*processes):
    """What became of each check, in each process that ran it. A check that is not there ended its process."""
    found, said = {}, []
    for process in processes:
        out, err = ended(process)
        said.append(f"a process ended with {process.returncode}:\n{err[-4000:]}")
        for part in out.split(MARK)[1:]:  # two processes that write at once may share a line
            for name, outcome in json.JSONDecoder().raw_decode(part.lstrip())[0].items():
                found.setdefault(name, []).append(outcome)
    return found, "\n".join(said)


def assert_passed(found, check, processes=1):
    """That a check passed in all processes; else what they said."""
    outcomes, said = found
    assert outcomes.get(check) == ["passed"] * processes, "\n".join([*outcomes.get(check, []), said])
