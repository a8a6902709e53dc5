"""The lines of the benchmarks as Markdown: `python benchmarks/tables.py benchmarks/results/speed/*.jsonl`.

Of lines with the same settings, backend and device, the last counts.
"""

import json
import pathlib
import sys
from typing import Any


def cell(value: Any) -> str:
    """A figure, with its quartiles if there are any."""
    if isinstance(value, dict) and value.keys() == {"median", "low", "high"}:
        return f"{value['median']} ({value['low']}-{value['high']})"
    return str(value)


def flat(line: dict[str, Any]) -> dict[str, str]:
    """The figures of a line by column; groups of figures side by side."""
    about = {"benchmark", "settings", "command", "date", "backend", "device", "threads", "versions"}
    found = {}
    for name, value in line.items():
        if name in about:
            continue
        if isinstance(value, dict) and "median" not in value:
            found |= {f"{key} ({name.replace('_', ' ')})": cell(inner) for key, inner in value.items()}
        else:
            found[name.replace("_", " ")] = cell(value)
    return found


def table(lines: list[dict[str, Any]]) -> str:
    """A Markdown table of one benchmark: settings that differ, backend, figures."""
    newest = {json.dumps([line["settings"], line["backend"], line["device"]]): line for line in lines}.values()
    names = list(dict.fromkeys(name for line in newest for name in line["settings"]))
    differ = [name for name in names if len({json.dumps(line["settings"].get(name)) for line in newest}) > 1]
    columns = list(dict.fromkeys(column for line in newest for column in flat(line)))
    rows = [[*(n.replace("_", " ") for n in differ), "backend", *columns]]
    rows.append(["---"] * len(rows[0]))
    for line in newest:
        settings = [str(line["settings"].get(name, "")) for name in differ]
        rows.append([*settings, line["backend"], *(flat(line).get(column, "") for column in columns)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Prints a table for each benchmark in the files."""
    lines = [json.loads(text) for path in sys.argv[1:] for text in pathlib.Path(path).read_text().splitlines()]
    for benchmark in dict.fromkeys(line["benchmark"] for line in lines):
        print(f"{benchmark}\n\n{table([line for line in lines if line['benchmark'] == benchmark])}\n")


if __name__ == "__main__":
    main()
