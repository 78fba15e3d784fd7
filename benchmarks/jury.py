"""Paint the pairs for juries, and make blind sheets that compare the defaults with other recipes or published results.

python benchmarks/jury.py pairs OUT_DIR       # 16 pairs: neighbors, nnst, gatys
python benchmarks/jury.py references OUT_DIR  # 14 pairs: neighbors and the published result of another program
python benchmarks/jury.py instant OUT_DIR     # 16 pairs of the devset: instant, MicroAST and Magenta
python benchmarks/jury.py draft OUT_DIR       # 16 pairs: instant, paint --quality draft, and the photo in the style's colors
python benchmarks/jury.py count OUT_DIR VOTES.json [VOTES.json ...]

Jurors see only the sheets, and write {"row": "BAC", ...}: the letters of each row, best first. The key is in OUT_DIR/key.json.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import skimage.data

import evaluation
import impasto
from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.images import write
from impasto.tensors import Image

RECIPES: dict[str, dict[str, Any]] = {"neighbors": {}, "nnst": {"recipe": "nnst"}, "gatys": {"recipe": "gatys"}}


def content_of(where: str, folder: Path) -> Path:
    """Return the file of a photo; a photo of skimage is first written into a folder."""
    kind, _, name = where.partition(":")
    if kind != "skimage":
        return evaluation.shared() / where
    path = folder / f"{name}.png"
    if not path.exists():
        write(path, impasto.read(getattr(skimage.data, name)()))
    return path


def of_devset() -> list[dict[str, Any]]:
    """List 16 pairs of the devset, each photo with two styles, and the results of MicroAST and Magenta."""
    folder = evaluation.shared() / "devset"
    contents, styles = (sorted((folder / kind).iterdir()) for kind in ("content", "style"))
    found = []
    for index, content in enumerate(contents):
        for step in (0, 3):
            style = styles[(index + step) % len(styles)]
            name = f"{content.stem}__{style.stem}"
            peers = {peer: str(folder / "peers" / f"{name}__{peer}.jpg") for peer in ("microast", "magenta")}
            found.append({"name": name, "content": str(content), "style": str(style), "results": peers})
    return found


def programs(kind: str) -> dict[str, Callable[[str, str], impasto.Pastiche]]:
    """Return the painting functions for a kind of pairs, by name."""
    if kind == "instant":
        return {"instant": lambda photo, style: impasto.instant(photo, style, size=512)}
    if kind == "draft":
        return {
            "instant": lambda photo, style: impasto.instant(photo, style, size=512),
            "draft": lambda photo, style: impasto.paint(photo, style, quality="draft"),
            "colors": in_colors_alone,
        }
    recipes = RECIPES if kind == "pairs" else {"neighbors": {}}
    return {name: partial(impasto.paint, **options) for name, options in recipes.items()}


def in_colors_alone(photo: str, style: str) -> impasto.Pastiche:
    """Give a photo the colors of a style without strokes, as a lower bound for paintings."""
    return in_colors(impasto.instant(photo, style, size=512, strength=0), impasto.read(style).image)


def in_colors(photo: impasto.Pastiche, style: Image) -> impasto.Pastiche:
    """Give a photo the mean and covariance of a style's colors."""
    change = monge_kantorovich(color_moments(photo.image), color_moments(style))
    return replace(photo, image=recolored(photo.image, change).clamp(0, 1))


def rows(kind: str, folder: Path) -> list[dict[str, Any]]:
    """List the pairs to judge: name, content, style, and the published result if there is one."""
    if kind == "instant":
        return of_devset()
    index = evaluation.shared() / ("references/index.json" if kind == "references" else "judge/pairs.json")
    found = []
    for each in json.loads(index.read_text()):
        row = {"name": each["name"].split("--", 1)[-1] if kind == "references" else each["name"]}
        row |= {"content": str(content_of(each["content"], folder)), "style": str(evaluation.shared() / each["style"])}
        published = {"published": str(evaluation.shared() / each["result"])} if kind == "references" else {}
        found.append(row | {"results": published})
    return found


def paint(kind: str, folder: Path) -> None:
    """Paint every pair once with every recipe, and arrange the results on sheets."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = rows(kind, folder)
    for row in listed:
        for name, program in programs(kind).items():
            path = folder / f"{row['name']}-{name}.png"
            if not path.exists():
                program(row["content"], row["style"]).save(path)
                print(path.name, flush=True)
            row["results"][name] = str(path)
    (folder / "list.json").write_text(json.dumps(listed))
    jury("sheets", str(folder / "list.json"), str(folder), "--rows", "2", "--width", "440")


def jury(*words: str) -> None:
    """Run the script of the jury."""
    subprocess.run([sys.executable, str(evaluation.shared() / "judge" / "jury.py"), *words], check=True)


def main() -> None:
    """Run the selected command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "references", "instant", "draft", "count"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("votes", nargs="*")
    given = parser.parse_args()
    if given.what == "count":
        jury("count", str(given.folder / "key.json"), *given.votes)
    else:
        paint(given.what, given.folder)


if __name__ == "__main__":
    main()
