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
    """In the script: runs all checks in order and prints what became of them."""
    results = {}
    for name, check in names.items():
        if name.startswith("check_"):
            try:
                check()
                results[name] = "passed"
            except Exception:
                results[name] = traceback.format_exc()
    print(MARK + json.dumps(results), flush=True)


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


def results(process, timeout=300):
    """What became of the checks, of each process that ran them, in the order in which they printed."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    found = [json.loads(line.split(MARK, 1)[1]) for line in out.splitlines() if MARK in line]
    assert found, f"the script ended with {process.returncode}:\n{out[-2000:]}\n{err[-4000:]}"
    return found
