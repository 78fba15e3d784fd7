"""Compare the figures of `impasto report` (vgg19-slim) with those of the full VGG-19, on results of other programs.

python benchmarks/report.py [--count 24] [--border zero|replicate]
"""

import argparse
import json
import statistics
from collections.abc import Sequence

from scipy.stats import spearmanr

import evaluation
from impasto import images
from impasto.encoders import load_encoder
from impasto.metrics.report import reference, report_on

_NAMES = ("style_closed", "style_gram", "style_moments", "content", "ssim", "ssim_coarse", "grid", "frame", "chroma_noise")


def chosen(count: int) -> list[tuple[str, str, str]]:
    """Choose results of other programs, spread evenly over contents, styles and programs."""
    pairs = evaluation.pairs("all")
    every = [(*pair, ("magenta", "microast")[index % 2]) for index, pair in enumerate(pairs)]
    return [every[index * len(every) // count] for index in range(min(count, len(every)))]


def row(name: str, slim: Sequence[float], full: Sequence[float]) -> str:
    """Format the comparison of one figure over all pictures."""
    difference = [a - b for a, b in zip(slim, full, strict=True)]
    order = float(spearmanr(slim, full).statistic)
    mean, spread = statistics.mean(difference), statistics.mean(map(abs, difference))
    return f"| {name} | {order:.3f} | {mean:+.4f} | {spread:.4f} | {statistics.mean(full):.4f} |"


def main() -> None:
    """Measure with both encoders, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--border", default="zero", choices=("zero", "replicate"))
    arguments = parser.parse_args()
    judge, slim = evaluation.judge(), load_encoder("vgg19-slim", border=arguments.border)
    network = judge.load_vgg19()
    ours, theirs = [], []
    for content, style, peer in chosen(arguments.count):
        path = evaluation.shared() / "devset" / "peers" / f"{content}__{style}__{peer}.jpg"
        result = images.read(path)
        measured = reference(
            images.read(evaluation.content(content)), [images.read(evaluation.style(style))], result.size, encoder=slim
        )
        ours.append(report_on(result, measured, encoder=slim).as_dict())
        theirs.append(judge.judge(network, evaluation.content(content), evaluation.style(style), path))
        print(json.dumps(ours[-1]), flush=True)
    print(f"\n{len(ours)} results of MicroAST and Magenta, --border {arguments.border}\n")
    print("| figure | Spearman | mean difference | mean absolute difference | mean, full VGG-19 |\n|---|---|---|---|---|")
    for name in _NAMES:
        print(row(name, [each[name] for each in ours], [each[name] for each in theirs]))


if __name__ == "__main__":
    main()
