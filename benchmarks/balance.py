"""Compare how much the strength of the style varies between pairs, with a fixed content weight and with `--balance`.

python benchmarks/balance.py [--held-out] [--count 6] [--size 128] [--steps 30] [--content-weight 3] [--balance 1]
"""

import argparse
import statistics

import evaluation
import impasto
from impasto.images import read

_TUNED_ON = ("bird delacroix", "bridge gauguin", "girl monet", "retriever renoir", "surf tuscan", "walker vallotton")
_HELD_OUT = ("bird renoir", "bridge tuscan", "girl delacroix", "retriever vallotton", "shore monet", "summit gauguin")


def main() -> None:
    """Paint every pair with both settings, and print the spread of the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--content-weight", type=float, default=3.0)
    parser.add_argument("--balance", type=float, default=1.0)
    arguments = parser.parse_args()
    pairs = [pair.split() for pair in (_HELD_OUT if arguments.held_out else _TUNED_ON)[: arguments.count]]
    for options in ({"content_weight": arguments.content_weight}, {"balance": arguments.balance}):
        closed = []
        for content, style in pairs:
            photo, picture = read(evaluation.content(content)), read(evaluation.style(style))
            painted = impasto.paint(photo, picture, size=arguments.size, steps=arguments.steps, **options).image
            closed.append(impasto.judge(photo, picture, painted)[0]["style_closed"])
        summary = f"mean {statistics.mean(closed):.3f}, deviation {statistics.stdev(closed):.3f}"
        print(options, f"{summary}, range {max(closed) - min(closed):.3f}:", *(f"{each:.3f}" for each in closed), flush=True)


if __name__ == "__main__":
    main()
