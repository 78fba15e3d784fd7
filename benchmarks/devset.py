"""Paint the devset, and compare its figures with those of other programs on the same pairs.

python benchmarks/devset.py [--pairs diagonal|half|all] [--encoder vgg19-slim|FILE] [--out FOLDER] [--option name=value ...]

Pairs that are already in the folder are not painted again. To use a second core, run a second process with --last-first.
"""

import argparse
import json
import statistics
from pathlib import Path

import evaluation
import impasto
from impasto.runtime.devices import seconds_now


def main() -> None:
    """Paint, measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default="diagonal", choices=("diagonal", "half", "all"))
    parser.add_argument("--encoder", default="vgg19-slim")
    parser.add_argument("--out", type=Path, default=Path(".bench/devset"))
    parser.add_argument("--option", action="append", default=[], metavar="name=value")
    parser.add_argument("--last-first", action="store_true")
    arguments = parser.parse_args()
    options = {name: json.loads(value) for name, value in (each.split("=", 1) for each in arguments.option)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    judge = evaluation.judge()
    network = judge.load_vgg19()
    rows = []
    for content, style in evaluation.pairs(arguments.pairs)[:: -1 if arguments.last_first else 1]:
        path = arguments.out / f"{content}__{style}.png"
        if not path.with_suffix(".json").is_file():
            started = seconds_now()
            pastiche = impasto.paint(evaluation.content(content), evaluation.style(style), encoder=arguments.encoder, **options)
            seconds = seconds_now() - started
            pastiche.save(path)
            row = judge.judge(network, evaluation.content(content), evaluation.style(style), path) | {
                "seconds": round(seconds, 1)
            }
            path.with_suffix(".json").write_text(json.dumps(row, indent=1))
        rows.append(json.loads(path.with_suffix(".json").read_text()))
        print(
            content, style, " ".join(f"{figure} {rows[-1][figure]}" for figure in (*evaluation.FIGURES, "seconds")), flush=True
        )
    chosen = {(row["content_file"], row["style_file"]) for row in rows}
    named = {f"impasto, {Path(arguments.encoder).stem}": evaluation.medians(rows)}
    for peer in ("MicroAST", "Magenta (TFLite)"):
        named[peer] = evaluation.medians(
            row
            for row in evaluation.peers()["rows"]
            if row["peer"] == peer and (row["content_file"], row["style_file"]) in chosen
        )
    print(f"\nmedians of {len(rows)} pairs at 512 px; {statistics.median(row['seconds'] for row in rows):.1f} s each\n")
    print(evaluation.table(named))


if __name__ == "__main__":
    main()
