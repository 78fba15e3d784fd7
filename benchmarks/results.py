"""Results of benchmarks: measuring in turns, JSON files with a description of the machine, tables and plots for the page.

python benchmarks/results.py    # write the tables and plots of docs/benchmarks.md and README.md from benchmarks/results

A benchmark measures rows. Each row compares something with a baseline that was measured in the same process, in turns.
The votes of juries are in benchmarks/results/juries, and figures of other benchmarks, which do not save their results, are in
benchmarks/results/recorded: one file for each table of the page.
"""

import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import impasto
from impasto.encoders.precision import has_fast_bf16
from impasto.runtime.devices import seconds_now

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- (figures|votes|table): ([a-z0-9_]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Seconds = dict[str, list[float]]
"""The seconds of each call in each round, by the name of the call."""


@dataclass(frozen=True)
class Row:
    """A measured value, and the value of a baseline in the same unit; ``ratio`` is measured / of_baseline."""

    what: str
    measured: float
    unit: str
    baseline: str
    of_baseline: float
    ratio: float


@dataclass(frozen=True)
class Curve:
    """Values at growing sizes, and the exponent of the power law that fits them best."""

    what: str
    grows: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    unit: str
    exponent: float


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Time calls that take turns, so that a slower machine affects all of them."""
    seconds: Seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = seconds_now()
            call()
            seconds[name].append(seconds_now() - started)
    return seconds


def compared(seconds: Seconds, what: str, baseline: str, suffix: str = "") -> Row:
    """Compare a call with another: medians of both, and the median of the ratios of each round."""
    measured, of_baseline = seconds[what], seconds[baseline]
    ratio = statistics.median(a / b for a, b in zip(measured, of_baseline, strict=True))
    return Row(what + suffix, statistics.median(measured), "s", baseline + suffix, statistics.median(of_baseline), ratio)


def curve(what: str, grows: str, points: Mapping[float, float], unit: str = "s") -> Curve:
    """Fit a power law to measured points by least squares on logarithms."""
    sizes, values = tuple(points), tuple(points.values())
    exponent = float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
    return Curve(what, grows, sizes, values, unit, exponent)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip()


def _processor() -> str:
    """Return the model of the processor."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        found = re.search(r"model name\s*: (.*)", facts.read_text())
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    """Return the physical memory in GiB; 0 if the system does not report it."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0


def _commit() -> str:
    """Return the commit of the source code, with a mark if files were changed since."""
    changed = _output("git", "status", "--porcelain", "--", "src", "benchmarks/*.py")
    return _output("git", "rev-parse", "--short=10", "HEAD") + " with changes" * bool(changed)


@dataclass(frozen=True)
class Start:
    """The start of a run: a description of the machine, the clock, and the processor time used so far, in seconds."""

    machine: dict[str, Any]
    clock: float
    of_all: float | None
    own: float


def _processor_seconds() -> tuple[float | None, float]:
    """Return the processor time of all programs since the machine started (if known), and of this one with its children."""
    own = sum(os.times()[:4])
    facts = Path("/proc/stat")
    if not facts.is_file():
        return None, own
    user, nice, system, _, _, irq, softirq, *_ = map(float, facts.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), own


def begin() -> Start:
    """Describe the machine, and start to count the processor time that other programs use."""
    of_all, own = _processor_seconds()
    return Start(machine(), time.perf_counter(), of_all, own)


def cores_of_others(run: Start) -> float | None:
    """Return how many cores other programs have used on average since a run began; None if the system does not report it."""
    of_all, own = _processor_seconds()
    if of_all is None or run.of_all is None:
        return None
    return round(max(0.0, (of_all - run.of_all - (own - run.own)) / (time.perf_counter() - run.clock)), 2)


def machine() -> dict[str, Any]:
    """Describe this machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory in GiB": round(_memory_gib(), 1),
        "bf16": has_fast_bf16(torch.device("cpu")),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "impasto": impasto.__version__,
        "commit": _commit(),
    }


def save(rows: Sequence[Row], run: Start, curves: Sequence[Curve] = (), *, name: str = "") -> Path:
    """Write the results of the running benchmark, and print them. The default name is that of the script.

    If there are earlier results with the same rows, the file also contains the change of the ratios.
    """
    script = Path(sys.argv[0])
    path = FOLDER / f"{name or script.stem}.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    found = {
        "script": script.name,
        "command": " ".join(["python", f"benchmarks/{script.name}", *sys.argv[1:]]),
        "machine": run.machine | {"cores of other programs": cores_of_others(run)},
        "rows": [rounded(asdict(each)) for each in rows],
        "curves": [rounded(asdict(each)) for each in curves],
        "repeated": repeated(earlier, rows),
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(block(path.stem, found)), f"\n{path.relative_to(ROOT)}", flush=True)
    return path


def rounded(value: Any) -> Any:
    """Round the numbers of a value to four digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def repeated(earlier: Mapping[str, Any] | None, rows: Iterable[Row]) -> dict[str, Any] | None:
    """Compare ratios with those of an earlier run: the largest relative change of a row that is in both runs."""
    before = {(row["what"], row["baseline"]): row["ratio"] for row in earlier["rows"]} if earlier else {}
    changes = {
        row.what: abs(row.ratio / before[row.what, row.baseline] - 1) for row in rows if (row.what, row.baseline) in before
    }
    if earlier is None or not changes:
        return None
    worst = max(changes, key=lambda what: changes[what])
    run = earlier["machine"]
    return {
        "date": run["date"],
        "cores of other programs": run["cores of other programs"],
        "row": worst,
        "change": round(changes[worst], 3),
    }


# -------------------------------------------------------------------------------------------------------- the page


def number(value: float) -> str:
    """Format a number with three digits, such as 0.0123, 4.56, 78.9 or 1,230."""
    if value == 0 or abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{digits}f}"


def block(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return the lines that the page has between the markers of a benchmark."""
    lines = [described(found)]
    if found["rows"]:
        lines += ["", "| what | measured | baseline | ratio | script |", "|---|---|---|---|---|"]
        lines += [row_line(found["script"], row) for row in found["rows"]]
    if found["curves"]:
        lines += ["", "| what | values | exponent | script |", "|---|---|---|---|"]
        lines += [curve_line(found["script"], each) for each in found["curves"]]
        lines += ["", f"![Plots of these values on logarithmic axes, with the fitted lines]({name}.svg)"]
    return lines


def described(found: Mapping[str, Any]) -> str:
    """Describe a run in one line: the command, the machine, and how well an earlier run was repeated."""
    on = found["machine"]
    hardware = f"{on['processor']}, {on['cores']} cores, {on['memory in GiB']:.0f} GiB, {'bf16' if on['bf16'] else 'no bf16'}"
    software = f"Python {on['python']}, torch {on['torch']}, commit {on['commit']}"
    text = f"`{found['command']}`, {on['date']}, {others(on)}; {hardware}"
    text += f", {on['accelerator']}" * bool(on["accelerator"]) + f"; threads: {on['threads']}; {software}."
    run = found["repeated"]
    if run:
        text += f" The run before ({run['date']}, {others(run)}) had ratios that differ by at most "
        text += f"{100 * run['change']:.0f} % (in the row {run['row']})."
    return text


def others(run: Mapping[str, Any]) -> str:
    """Describe how much other programs used the processor during a run."""
    cores = run["cores of other programs"]
    return "under an unknown load" if cores is None else f"while other programs used {cores:.2f} cores"


def row_line(script: str, row: Mapping[str, Any]) -> str:
    """Return a row of the table of comparisons."""
    measured, of_baseline = (f"{number(row[each])} {row['unit']}".rstrip() for each in ("measured", "of_baseline"))
    return f"| {row['what']} | {measured} | {row['baseline']}: {of_baseline} | {number(row['ratio'])} | `{script}` |"


def curve_line(script: str, each: Mapping[str, Any]) -> str:
    """Return a row of the table of curves."""
    points = zip(each["sizes"], each["values"], strict=True)
    values = ", ".join(f"{size:,g}: {number(value)} {each['unit']}" for size, value in points)
    return f"| {each['what']}, by {each['grows']} | {values} | {each['exponent']:.2f} | `{script}` |"


def votes(found: Mapping[str, Any]) -> list[str]:
    """Return the table of the juries of a file: one row for each jury."""
    usual = "" if all("jurors" not in each for each in found["juries"]) else " where no other number is given"
    lines = [f"Votes of {found['date']}, {found['jurors']} jurors for each row{usual}; {found['pictures']}:", ""]
    return [*lines, "| jury | pairs | votes | result |", "|---|---|---|---|", *map(jury_line, found["juries"])]


def jury_line(jury: Mapping[str, Any]) -> str:
    """Return a row of a table of juries: the count of each comparison, with its share of the votes, and the note."""
    counts = "; ".join(count_text(each, each.get("of", jury["votes"])) for each in jury["counts"])
    result = f"**{counts}**" if jury["bold"] else counts
    return f"| {jury['what']} | {jury['pairs']} | {jury['votes']} | {'; '.join(filter(None, [result, jury['note']]))} |"


def count_text(count: Mapping[str, Any], of: int) -> str:
    """Return a count as text, such as "a before b in 19 (68 %)"; "of" is shown if it is not the count of the row."""
    compared_with = f" before {count['loser']}" * bool(count["loser"])
    of_how_many = f" of {of}" * ("of" in count)
    return f"{count['winner']}{compared_with} in {count['votes']}{of_how_many} ({100 * count['votes'] / of:.0f} %)"


def table(found: Mapping[str, Any]) -> list[str]:
    """Return a table of recorded figures: its columns, and its rows, of which some are bold."""
    columns = found["columns"]
    names = "".join(f" {each['name']} |" if each["name"] else " |" for each in columns)
    lines = ["|" + names, "|---" * len(columns) + "|"]
    for row in found["rows"]:
        cells = [cell_text(cell, column) for cell, column in zip(row["cells"], columns, strict=True)]
        marked = [f"**{each}**" if row["bold"] and each else each for each in cells]
        lines.append("|" + "|".join(f" {each} " if each else " " for each in marked) + "|")
    return lines


def cell_text(cell: str | float | Sequence[float], column: Mapping[str, Any]) -> str:
    """Return a cell as text: a text, a number with the digits of its column, or several such numbers."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (int, float)):
        return f"{cell:{column.get('sign', '')}.{column['digits']}f}"
    return " / ".join(f"{value:.{digits}f}" for value, digits in zip(cell, column["digits"], strict=True))


def read(name: str) -> dict[str, Any]:
    """Read the results of a benchmark."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def summary() -> list[str]:
    """Return the lines of the README: time and memory of each engine by size."""
    links = "[Speed](docs/benchmarks.md#speed) and [Memory](docs/benchmarks.md#memory)"
    if not all((FOLDER / f"{name}.json").is_file() for name in ("speed", "memory")):
        return [f"{links} have the figures by size, and `make bench` measures your machine."]
    speed = {row["what"]: row["measured"] for row in read("speed")["rows"]}
    memory = {row["what"]: row["measured"] for row in read("memory")["rows"]}
    on = read("speed")["machine"]
    sizes = [size for size in (256, 512, 1024) if f"paint, {size} px" in speed and f"paint, {size} px: peak" in memory]
    lines = ["Time of a painting in the Python library, and the peak memory of the whole process:", ""]
    lines += [f"| | {' | '.join(f'{size} × {size}' for size in sizes)} |", "|---" * (1 + len(sizes)) + "|"]
    for engine, shown in (("paint", "`paint`"), ("instant", "`instant`"), ("brush", "a brush")):
        names = [f"{engine}, {size} px" for size in sizes]
        cells = (f"{number(speed[name])} s, {number(memory[f'{name}: peak'])} GiB" for name in names)
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    where = f"{on['processor']}, {on['threads']} of {on['cores']} cores, {on['accelerator'] or 'no GPU'}, {on['date']}"
    where += f", {others(on)}"
    return [
        *lines,
        "",
        f"Measured on {where}. {links} compare each figure with a baseline. `make bench` measures your machine.",
    ]


def page(text: str) -> str:
    """Return the text of a page with current figures between its markers."""

    def current(found: re.Match[str]) -> str:
        start, kind, name, end = found.groups()
        if kind == "votes":
            lines = votes(read(f"juries/{name}"))
        elif kind == "table":
            lines = table(read(f"recorded/{name}"))
        elif name == "summary":
            lines = summary()
        elif (FOLDER / f"{name}.json").is_file():
            lines = block(name, read(name))
        else:
            lines = [f"No results of `{name}` are saved yet: run `make bench`."]
        return "\n".join([start, *lines, "", end])

    return _BLOCK.sub(current, text)


def plot(path: Path, curves: Sequence[Mapping[str, Any]]) -> None:
    """Draw curves on logarithmic axes: one panel for each thing that grows, points and fitted lines."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(each["grows"] for each in curves))
    with mpl.rc_context({"svg.hashsalt": "impasto", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(3.2 * len(panels), 3), layout="constrained")
        for panel, grows in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for each in (one for one in curves if one["grows"] == grows):
                draw(panel, each)
            panel.set_xlabel(grows)
            panel.legend(frameon=False, fontsize=7)
        figure.savefig(path, metadata={"Date": None})


def draw(panel: Any, each: Mapping[str, Any]) -> None:
    """Draw the points of a curve, and the power law that fits them."""
    sizes, values = np.array(each["sizes"]), np.array(each["values"])
    (points,) = panel.loglog(sizes, values, "o", label=f"{each['what']}: {each['exponent']:.2f}")
    middle = np.exp(np.log(values).mean() - each["exponent"] * np.log(sizes).mean())
    panel.loglog(sizes, middle * sizes ** each["exponent"], "-", color=points.get_color(), linewidth=1)
    panel.set_ylabel(each["unit"])


def main() -> None:
    """Write the tables and plots of the page, and the table of the README."""
    for path in (PAGE, README):
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in sorted(FOLDER.glob("*.json")):
        curves = read(path.stem)["curves"]
        if curves:
            plot(PAGE.parent / f"{path.stem}.svg", curves)


if __name__ == "__main__":
    main()
