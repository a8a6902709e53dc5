"""Races pairs of stock models against the stock models, and writes the page of what works.

    KERAS_BACKEND=torch python benchmarks/matrix.py                # all cases, into results/matrix/torch.jsonl
    KERAS_BACKEND=torch python benchmarks/matrix.py Bert GPT2      # those whose names contain one of these
    python benchmarks/matrix.py --table                            # the lines of all backends, into docs/models.md

Cases run one after another in a process of their own, which is started again after one that hangs or dies. A case that
the file has a line of is left out, so that an interrupted run goes on where it stopped; `--again` runs all.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time
import warnings
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/matrix"
PAGE = ROOT / "docs/models.md"
START, END = "<!-- matrix: begin, written by benchmarks/matrix.py -->", "<!-- matrix: end -->"
ZOO = ("text", "images", "multimodal", "middle", "objectives", "cv", "applications")
LIMIT = 300  # seconds for one case
HEAVY = ("keras.applications",)  # hundreds of layers: minutes to compile, so run where nothing is compiled

sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "examples")]


def cases() -> dict[str, Any]:
    """The zoo's cases by library and name, without those of libraries that are not installed."""
    found = {}
    for module in ZOO:
        with contextlib.suppress(ImportError):
            found |= {f"{c.library} {c.name}": c for c in importlib.import_module(f"zoo.{module}").CASES}
    return found


def outcome(case: Any, kinds: tuple[bool, ...]) -> dict[str, Any]:
    """Races one case: what the check said, and how far the pair came from the stock model.

    Args:
        case: The case.
        kinds: Whether the motivated model races, or the base, or one after the other.
    """
    from race import Race, StockError

    line: dict[str, Any] = {}
    try:
        race = Race(case)
    except StockError as error:
        return {"stock": first_line(error)}
    except ValueError as error:
        return {"refused": first_line(error)}
    except Exception as error:
        return {"crashed": first_line(error)}
    verdict = race.pair.weights_map.verdict
    line = {"verdict": verdict and verdict.nesting, "extension": race.pair.extension}
    for motivated in kinds:
        name = ("never", "always")[motivated]
        try:
            result = race.run(motivated)
            line[name] = float(f"{result.deviation:.2g}")
            if result.deviation:
                line[f"{name}_where"] = result.where
        except StockError as error:
            line["stock"] = first_line(error)
        except Exception as error:
            line["crashed"] = first_line(error)
    return line


def first_line(error: Exception) -> str:
    """An error in short; of a refusal, its first reason."""
    lines = [text for text in str(error).splitlines() if text.strip()]
    reason = next((text for text in lines if text.startswith("- ")), lines[0] if lines else "")
    return f"{type(error).__name__}: {reason.removeprefix('- ')}"[:300]


def work(names: list[str], output: pathlib.Path, kinds: tuple[bool, ...]) -> None:
    """Runs the cases and appends a line for each; the one that starts is announced, so that a hang has a name."""
    import keras
    from image_measures import versions

    warnings.simplefilter("ignore")
    known = cases()
    for name in names:
        print(name, flush=True)
        keras.utils.clear_session()
        started, case = time.perf_counter(), known[name]
        about = {"library": case.library, "family": case.family, "task": case.task, "growth": case.growth}
        sizes = {"sizes": [str(size) for size in case.sizes]}
        line = {"case": name, **about, **sizes, **({"batch": True} if case.batch else {}), **outcome(case, kinds)}
        line |= {"note": case.note} if case.note else {}
        line |= {"seconds": round(time.perf_counter() - started, 1), "versions": versions()}
        append(output, line)


def append(output: pathlib.Path, line: dict[str, Any]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as file:
        file.write(json.dumps(line) + "\n")


def done(output: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The last line of each case."""
    lines = [json.loads(text) for text in output.read_text().splitlines()] if output.exists() else []
    return {line["case"]: line for line in lines}


def supervise(names: list[str], output: pathlib.Path, options: list[str]) -> None:
    """Has a process work through the names, and another go on behind a case that took too long or killed it."""
    while names:
        command = [sys.executable, "-W", "ignore", __file__, "--work", "--output", str(output), *options, *names]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before, since = len(done(output)), time.monotonic()
        while process.poll() is None and time.monotonic() - since < LIMIT:
            time.sleep(1)
            if len(done(output)) != before:
                before, since = len(done(output)), time.monotonic()
        hangs = process.poll() is None
        process.kill()
        process.wait()
        left = [name for name in names if name not in done(output)]
        if left and (hangs or len(left) == len(names) or process.returncode):
            what = f"took more than {LIMIT} s" if hangs else f"ended the process with code {process.returncode}"
            append(output, {"case": left[0], "crashed": what, **described(left[0])})
            left = left[1:]
        print(f"{len(names) - len(left)} of {len(names)} done", flush=True)
        names = left


def described(name: str) -> dict[str, str]:
    case = cases()[name]
    return {"library": case.library, "family": case.family, "task": case.task, "growth": case.growth}


# ---- The page ----------------------------------------------------------------------------------------------------


def verdict(line: dict[str, Any]) -> str:
    """What a line says, in words of the page."""
    for key, words in (("stock", "stock Keras fails"), ("refused", "refused"), ("crashed", "**fails**")):
        if key in line:
            reason = line[key].split(": ", 1)[-1].split(", though")[0].split(": what follows")[0]
            return f"{words}: {textwrap.shorten(reason, 130, placeholder=' ...')}"
    worst = max(line[name] for name in ("never", "always") if name in line)
    if worst == 0:
        return "bit for bit"
    return f"to {worst:.0e}".replace("e-0", "e-") if worst < 1e-3 else f"**deviates by {worst:.2g}**"


def row(lines: dict[str, dict[str, Any]]) -> list[str]:
    """A case's row, from its line under each backend."""
    any_line = next(iter(lines.values()))
    words = {backend: verdict(line) for backend, line in lines.items()}
    groups: dict[str, list[str]] = {}
    for backend, text in words.items():
        groups.setdefault(text, []).append(backend)
    cell = "; ".join(text if len(groups) == 1 else f"{text} ({', '.join(b)})" for text, b in groups.items())
    cell += f". {any_line['note']}" if "note" in any_line else ""
    found = [f"{line['verdict'] or 'not checked'}, {line['extension']}" for line in lines.values() if "verdict" in line]
    nesting = next(iter(found), "")
    nesting += " (given a batch)" if nesting and any_line.get("batch") else ""
    escaped = cell.replace("|", "\\|").replace("<", "&lt;")
    return [any_line["family"], any_line["task"], any_line["growth"], nesting, escaped, ", ".join(lines)]


def table() -> str:
    """The tables of all libraries, from the files of all backends."""
    by_backend = {path.stem: done(path) for path in sorted(RESULTS.glob("*.jsonl"))}
    names = list(dict.fromkeys(name for lines in by_backend.values() for name in lines))
    text = []
    for library in dict.fromkeys(lines[n]["library"] for n in names for lines in by_backend.values() if n in lines):
        rows = [["family", "task", "grows in", "nesting, extension", "against stock", "backends"], ["---"] * 6]
        for name in names:
            lines = {backend: lines[name] for backend, lines in by_backend.items() if name in lines}
            if next(iter(lines.values()))["library"] == library:
                rows.append(row(lines))
        text += [f"**{library}**", "", *("| " + " | ".join(cells) + " |" for cells in rows), ""]
    return "\n".join(text).rstrip()


def write_page() -> None:
    """Puts the tables between the markers of the page."""
    page = PAGE.read_text()
    before, rest = page.split(START)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{after}")


def main() -> None:
    """Runs cases, or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run cases whose names contain one of these")
    parser.add_argument("--table", action="store_true", help="write the page from the lines there are")
    parser.add_argument("--again", action="store_true", help="run cases that have a line already, too")
    parser.add_argument("--heavy", action="store_true", help="run keras.applications under every backend")
    parser.add_argument("--always", action="store_true", help="leave out the base, whose step is the stock model's own")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    args = parser.parse_args()
    if args.table:
        write_page()
        return
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    output = args.output or RESULTS / f"{backend}.jsonl"
    if args.work:
        work(args.words, output, (True,) if args.always else (False, True))
        return
    chosen = [n for n in cases() if not args.words or any(word.lower() in n.lower() for word in args.words)]
    if backend != "torch" and not args.heavy:
        chosen = [name for name in chosen if not name.startswith(HEAVY)]
    present = {} if args.again else done(output)
    if args.again and output.exists():
        kept = [line for name, line in done(output).items() if name not in chosen]
        output.write_text("".join(json.dumps(line) + "\n" for line in kept))
    supervise([name for name in chosen if name not in present], output, ["--always"] if args.always else [])


if __name__ == "__main__":
    main()
