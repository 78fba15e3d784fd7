"""Train the bundled brushes.

python examples/ship_brushes.py MATERIAL_FOLDER [--only NAME] [--network small] [--minutes 60] [--start BRUSH]

``brushes.json`` next to this file lists the styles, which are works of ``shelf.json``. The material folder contains their
pictures (paintings_pd/, paintings_cc0/) and training photos (corpus/photos/). An interrupted training resumes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from ship_styles import cropped

import impasto
from impasto.images import write
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import new_run
from impasto.training.photos import photos_in

_HERE = Path(__file__).parent
_DATA = Path(impasto.__file__).parent / "data" / "brushes"
_SECONDS_BETWEEN = 60.0


def ship(work: dict[str, Any], photos: list[torch.Tensor], given: argparse.Namespace) -> Path:
    """Train one brush, or continue its training, and write its file and its sample strip."""
    folder = _DATA / "live" if given.network == "small" else _DATA
    folder.mkdir(parents=True, exist_ok=True)
    name, scratch = work["name"], Path(given.scratch)
    path, checkpoint = folder / f"{name}.brush", scratch / f"{name}-{given.network}.checkpoint"
    picture = cropped(impasto.read(given.material / work["folder"] / work["file"]), work["crop"])
    options = BrushTrainingOptions(minutes=given.minutes, steps=given.steps, network=given.network, **work.get("options", {}))
    training = new_run(picture, photos, options, Run(seed=given.seed), start=given.start or None)
    training.facts |= {key: work[key] for key in ("name", "title", "artist", "date")}
    training.facts |= {"source": work.get("source", ""), "licence": work["free"], "start": Path(given.start).stem}
    if checkpoint.exists():
        training.resume(checkpoint)
    due = training.training.seconds + _SECONDS_BETWEEN
    for step in training.steps():
        if step.seconds >= due:
            due = step.seconds + _SECONDS_BETWEEN
            training.save_checkpoint(checkpoint)
            print(name, step.number, f"{step.seconds:.0f} s", training.losses(), flush=True)
    training.save(path)
    write(scratch / f"{name}-{given.network}.png", training.strip())
    return path


def main() -> None:
    """Train all brushes, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--network", default="medium", choices=("small", "medium", "full"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=0, help="number of steps instead of minutes")
    parser.add_argument("--start", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", default=".", help="folder of checkpoints and sample strips")
    given = parser.parse_args()
    works = {work["name"]: work for work in json.loads((_HERE / "shelf.json").read_text())["styles"]}
    photos = [each for each in photos_in(given.material / "corpus" / "photos") if isinstance(each, torch.Tensor)]
    for chosen in json.loads((_HERE / "brushes.json").read_text())["brushes"]:
        if given.only in ("", chosen["name"]):
            path = ship(works[chosen["name"]] | chosen, photos, given)
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
