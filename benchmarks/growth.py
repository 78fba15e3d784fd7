"""Measure how time grows with pixels, styles, steps and workers, and fit power laws.

python benchmarks/growth.py [--rounds 2]

An exponent of 1 means that the time doubles if the size doubles, and 0 means that the time does not change. The rows compare
the time at the largest size with that at the smallest, in the same rounds.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import impasto
import public
from batch import batch_command, make_photos, timed
from impasto.options import Run
from impasto.recipes.instant_painter import blended
from results import Curve, Row, begin, compared, curve, in_turns, save

Calls = Mapping[float, Callable[[], object]]
"""Calls by the size that grows: pixels, styles, steps or workers."""
_EDGES = {"paint": (128, 256, 512), "instant": (256, 384, 512, 768, 1024), "brush": (256, 512, 1024, 2048)}


def measured(what: str, grows: str, calls: Calls, rounds: int) -> tuple[Row, Curve]:
    """Time calls of growing size in turns; return the comparison of largest and smallest, and the curve."""
    names = {size: f"{what}, {grows} {size:,g}" for size in calls}
    next(iter(calls.values()))()  # the first call is slower
    seconds = in_turns({names[size]: call for size, call in calls.items()}, rounds)
    points = {size: statistics.median(seconds[name]) for size, name in names.items()}
    return compared(seconds, names[max(calls)], names[min(calls)]), curve(what, grows, points)


def by_pixels(rounds: int) -> list[tuple[Row, Curve]]:
    """Paint squares of growing size with each engine."""
    painter, brush = impasto.InstantPainter(engine="torch"), impasto.BrushPainter("starry-night", engine="torch")

    def instant(edge: int) -> Callable[[], object]:
        code = painter.encode(impasto.read(public.style(edge)))
        return partial(painter.paint, public.photo(edge), code)

    def paint(edge: int) -> Callable[[], object]:
        return partial(impasto.paint, public.photo(edge), public.style(edge), size=edge)

    def brushed(edge: int) -> Callable[[], object]:
        return partial(brush.paint, public.photo(edge))

    makers = {"paint": paint, "instant": instant, "brush": brushed}
    return [
        measured(engine, "pixels", {edge**2: make(edge) for edge in _EDGES[engine]}, rounds) for engine, make in makers.items()
    ]


def by_styles(rounds: int, counts: Sequence[int] = (1, 2, 4)) -> list[tuple[Row, Curve]]:
    """Paint with several styles at once."""
    painter, photo = impasto.InstantPainter(engine="torch"), public.photo(256)
    styles = [public.style(edge) for edge in (256, 240, 224, 208)]
    codes = [painter.encode(impasto.read(each)) for each in styles]
    paints: Calls = {n: partial(impasto.paint, public.photo(128), styles[:n], size=128) for n in counts}
    instants: Calls = {n: partial(painter.paint, photo, blended(codes[:n], [1.0] * n)) for n in counts}
    return [measured("paint at 128 px", "styles", paints, rounds), measured("instant", "styles", instants, rounds)]


def by_steps(rounds: int, counts: Sequence[int] = (10, 20, 40, 80)) -> list[tuple[Row, Curve]]:
    """Paint with more steps at the last size."""
    paint = partial(impasto.paint, public.photo(128), public.style(128), size=128, run=Run())
    return [measured("paint at 128 px", "steps", {n: partial(paint, steps=n) for n in counts}, rounds)]


def by_workers(rounds: int, counts: Sequence[int] = (1, 2, 4), pictures: int = 24) -> list[tuple[Row, Curve]]:
    """Paint a folder of photos with several processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        make_photos(folder / "photos", pictures, 256)
        calls: Calls = {n: partial(timed, batch_command(folder, "starry-night", n)) for n in counts}
        return [measured(f"batch of {pictures}", "workers", calls, rounds)]


def main() -> None:
    """Measure all curves, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    rounds, run = parser.parse_args().rounds, begin()
    found = [pair for part in (by_pixels, by_styles, by_steps, by_workers) for pair in part(rounds)]
    rows, curves = zip(*found, strict=True)
    save(rows, run, curves)


if __name__ == "__main__":
    main()
