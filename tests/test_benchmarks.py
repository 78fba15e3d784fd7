"""The figures of docs/benchmarks.md and README.md are those of the committed results, and claims name their benchmark."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))
JURIES = sorted((BENCHMARKS / "results" / "juries").glob("*.json"))
RECORDED = sorted((BENCHMARKS / "results" / "recorded").glob("*.json"))
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")

_COUNT = r"(?:\d[\d.,]*|an?|one|two|three|four|five|ten|few|some|in|dozen)"
_UNIT = r"(?:\[?seconds?|minutes?|hours?|ms|s|GiB|GB|MiB|MB|frames|times as \w+|% of)"
CLAIM = re.compile(rf"\b(?<!every )(?<!than ){_COUNT}(?: more)? {_UNIT}\b|\b(?:fraction|thirds?|quarters?|half) of the time\b")
"""A figure with a unit, in digits or words. "Every 20 seconds" and "longer than a minute" describe behavior."""
PRAISE = re.compile(
    r"\b(?:best|better|fast(?:er|est)|quicker|cheaper|lowest|highest|prefer(?:s|red)?|surviv\w+)\b", re.IGNORECASE
)
"""A superlative or a comparison; names in code and links are not prose."""


@pytest.fixture(scope="module")
def results() -> ModuleType:
    """The module benchmarks/results.py."""
    spec = importlib.util.spec_from_file_location("benchmark_results", BENCHMARKS / "results.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    return module


def prose_and_code(text: str) -> tuple[list[str], list[str]]:
    """Split a page into paragraphs of prose and blocks of code."""
    code = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "\n\n", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(
        r"<!-- figures: summary -->.*?<!-- end -->", lambda found: found[0].replace("\n\n", "\n"), prose, flags=re.DOTALL
    )
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n|\n(?=- )", prose)], code


def without_code_and_links(text: str) -> str:
    """Remove inline code and the targets of links."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)


def test_the_anchors_of_benchmarks_in_the_documentation_are_sections_of_the_page() -> None:
    titles = re.findall(r"^#+ (.*)$", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        linked = set(re.findall(r"benchmarks\.md#([\w-]+)\)", page.read_text(encoding="utf-8")))
        assert linked <= anchors, f"{page.name} links to sections that docs/benchmarks.md does not have: {linked - anchors}"


@pytest.mark.parametrize("text", ["the best result", "It is faster", "Jurors preferred it", "Jobs survive a restart"])
def test_praise_is_a_claim(text: str) -> None:
    assert PRAISE.search(text)
    assert not PRAISE.search(without_code_and_links(f"`{text}` and [text]({text})"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_tables_of_a_page_are_those_made_from_the_committed_results(page: Path, results: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert results.page(text) == text, "run python benchmarks/results.py"


def test_every_committed_result_is_on_the_page_and_every_row_names_its_script() -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- figures: ([a-z_]+) -->\n(.*?)<!-- end -->", text, re.DOTALL))
    assert {path.stem for path in RESULTS} <= set(blocks), "the page has no place for a result"
    for block in (blocks[path.stem] for path in RESULTS):
        rows = [line for line in block.splitlines() if line.startswith("| ") and "| script |" not in line]
        assert rows
        for row in rows:
            script = re.search(r"\| `(\w+\.py)` \|$", row)
            assert script, row
            assert (BENCHMARKS / script[1]).is_file()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_result_describes_its_machine(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    known = {
        "date",
        "cores of other programs",
        "processor",
        "cores",
        "memory in GiB",
        "bf16",
        "system",
        "python",
        "torch",
        "impasto",
        "commit",
    }
    assert known <= set(found["machine"])
    assert found["command"].startswith(f"python benchmarks/{found['script']}")
    assert path.stat().st_size < 50_000
    assert not found["curves"] or (ROOT / "docs" / f"{path.stem}.svg").is_file()


def test_every_table_of_votes_is_on_the_page() -> None:
    on_the_page = re.findall(r"<!-- votes: ([a-z_]+) -->", PAGES[0].read_text(encoding="utf-8"))
    assert sorted(on_the_page) == [path.stem for path in JURIES]


def test_every_table_of_recorded_figures_is_on_the_page_and_names_its_script() -> None:
    on_the_page = re.findall(r"<!-- table: ([a-z0-9_]+) -->", PAGES[0].read_text(encoding="utf-8"))
    assert sorted(on_the_page) == [path.stem for path in RECORDED]
    for path in RECORDED:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert (BENCHMARKS / found["script"]).is_file()
        assert {len(row["cells"]) for row in found["rows"]} == {len(found["columns"])}, path.name


def test_a_table_has_the_digits_and_the_bold_rows_of_its_record(results: ModuleType) -> None:
    columns = [
        {"name": ""},
        {"name": "a", "digits": 2},
        {"name": "b", "digits": 1, "sign": "+"},
        {"name": "c", "digits": [1, 0]},
    ]
    rows = [
        {"bold": False, "cells": ["x", 0.5, 2, [0.25, 3]]},
        {"bold": True, "cells": ["y", "-", "", [1, 2.0]]},
    ]
    assert results.table({"columns": columns, "rows": rows}) == [
        "| | a | b | c |",
        "|---|---|---|---|",
        "| x | 0.50 | +2.0 | 0.2 / 3 |",
        "| **y** | **-** | | **1.0 / 2** |",
    ]


@pytest.mark.parametrize("path", JURIES, ids=lambda path: path.stem)
def test_every_juror_of_a_jury_votes_once_on_each_pair(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert re.fullmatch(r"2026-\d\d-\d\d", found["date"])
    assert not found["script"] or (BENCHMARKS / found["script"]).is_file()
    for jury in found["juries"]:
        assert jury["votes"] == jury["pairs"] * jury.get("jurors", found["jurors"]), jury["what"]
        for count in jury["counts"]:
            assert 0 <= count["votes"] <= count.get("of", jury["votes"]) <= jury["votes"], jury["what"]


def test_the_votes_of_the_comparison_are_those_of_the_juries() -> None:
    counted = {
        (count["votes"], count.get("of", jury["votes"]))
        for path in JURIES
        for jury in json.loads(path.read_text(encoding="utf-8"))["juries"]
        for count in jury["counts"]
    }
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d+) of (\d+)\b.*\|$", page, re.MULTILINE)
    assert len(rows) >= 5
    assert {(int(votes), int(of)) for votes, of in rows} <= counted


@pytest.mark.parametrize(
    ("count", "of", "text"),
    [
        ({"winner": "a", "loser": "b", "votes": 19}, 28, "a before b in 19 (68 %)"),
        ({"winner": "a first", "loser": "", "votes": 7}, 14, "a first in 7 (50 %)"),
        ({"winner": "a", "loser": "b", "votes": 0, "of": 16}, 16, "a before b in 0 of 16 (0 %)"),
    ],
)
def test_a_count_of_votes_is_written_with_its_share(results: ModuleType, count: dict[str, object], of: int, text: str) -> None:
    assert results.count_text(count, of) == text


def test_every_claim_in_the_readme_links_to_its_benchmark() -> None:
    prose, code = prose_and_code((ROOT / "README.md").read_text(encoding="utf-8"))
    claims = [each for each in prose if CLAIM.search(each) or PRAISE.search(without_code_and_links(each))]
    assert len(claims) >= 4
    for claim in claims:
        assert "(docs/benchmarks.md#" in claim, f"link the benchmark of this claim:\n{claim}"
    for block in code:
        found = CLAIM.search(block)
        assert not found, f"a block of code cannot link to a benchmark; move this claim into the text: {found and found[0]}"


@pytest.mark.parametrize(
    "claim", ["about a second", "in seconds", "a few more seconds", "takes 10 s", "1.5 GiB", "two thirds of the time"]
)
def test_figures_with_units_are_claims(claim: str) -> None:
    assert CLAIM.search(claim)


@pytest.mark.parametrize(
    "text", ["40 named styles", "--seconds 8", "three networks", "a picture", "--minutes 10", "every 20 seconds"]
)
def test_numbers_without_units_are_not_claims(text: str) -> None:
    assert not CLAIM.search(text)


def test_a_curve_has_the_exponent_of_its_power_law(results: ModuleType) -> None:
    found = results.curve("paint", "pixels", {size: 3 * size**1.5 for size in (1.0, 2.0, 4.0, 16.0)})
    assert found.exponent == pytest.approx(1.5)


def test_a_ratio_is_the_median_of_the_ratios_of_each_round(results: ModuleType) -> None:
    row = results.compared({"a": [1.0, 20.0, 3.0], "b": [2.0, 10.0, 2.0]}, "a", "b")
    assert (row.measured, row.of_baseline, row.ratio) == (3, 2, 1.5)


def test_a_repeated_run_states_the_largest_change_of_a_ratio(results: ModuleType) -> None:
    rows = [results.Row("a", 1, "s", "b", 1, 1.1), results.Row("c", 1, "s", "b", 1, 2.5), results.Row("new", 1, "s", "b", 1, 9)]
    before = {"a": 1.0, "c": 2.0}
    earlier = {
        "machine": {"date": "2026-01-02", "cores of other programs": 0.5},
        "rows": [{"what": what, "baseline": "b", "ratio": ratio} for what, ratio in before.items()],
    }
    assert results.repeated(earlier, rows) == {"date": "2026-01-02", "cores of other programs": 0.5, "row": "c", "change": 0.25}
    assert results.repeated(None, rows) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "0.0123"), (4.561, "4.56"), (78.94, "78.9"), (1234.0, "1,230"), (1.0, "1.00"), (0.0, "0")]
)
def test_numbers_have_three_digits(results: ModuleType, value: float, text: str) -> None:
    assert results.number(value) == text


def test_calls_take_turns(results: ModuleType) -> None:
    called: list[str] = []
    seconds = results.in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2)
    assert called == ["a", "b", "a", "b"]
    assert [len(each) for each in seconds.values()] == [2, 2]


def test_make_runs_every_benchmark_and_each_is_public_or_needs_the_shared_folder() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lists = {name: words.split() for name, words in re.findall(r"^(PICTURES|MODULES|PUBLIC) := (.*)$", makefile, re.MULTILINE)}
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert {name for names in lists.values() for name in names} <= scripts
    for name in lists["PUBLIC"]:
        assert f"benchmarks/{name}.py" in makefile, f"make bench does not run {name}.py"
        source = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
        assert "save(" in source
        assert "import evaluation" not in source or "--shared" in source, f"{name}.py needs the shared folder"


def test_the_table_of_the_readme_has_the_sizes_that_were_measured(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert "| `paint` |" not in "\n".join(results.summary())
    machine = {
        "processor": "CPU",
        "threads": 2,
        "cores": 4,
        "accelerator": "",
        "date": "2026-01-02",
        "cores of other programs": 0.0,
    }
    rows = [
        {"what": f"{engine}, {size} px", "measured": 1.5} for engine in ("paint", "instant", "brush") for size in (256, 512)
    ]
    (tmp_path / "speed.json").write_text(json.dumps({"machine": machine, "rows": rows}), encoding="utf-8")
    peaks = [{"what": f"{row['what']}: peak", "measured": 0.25} for row in rows]
    (tmp_path / "memory.json").write_text(json.dumps({"rows": peaks}), encoding="utf-8")
    lines = results.summary()
    assert "| | 256 × 256 | 512 × 512 |" in lines
    assert "| `instant` | 1.50 s, 0.250 GiB | 1.50 s, 0.250 GiB |" in lines
    assert lines[-1].startswith(
        "Measured on CPU, 2 of 4 cores, no GPU, 2026-01-02, while other programs used 0.00 cores. [Speed]"
    )


def test_a_benchmark_without_results_has_a_sentence_on_the_page(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    text = "before\n<!-- figures: speed -->\nold\n<!-- end -->\nafter\n"
    assert "run `make bench`" in results.page(text)
    assert "old" not in results.page(text)


def test_curves_are_drawn_as_the_same_file_every_time(results: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = results.asdict(results.curve("paint", "pixels", {1.0: 1.0, 4.0: 3.5}))
    for name in ("one.svg", "two.svg"):
        results.plot(tmp_path / name, [found, found | {"grows": "steps"}])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
