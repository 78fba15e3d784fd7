"""Make the bundled named styles from paintings: statistics, and a swatch painted by impasto.

python examples/ship_styles.py MATERIAL_FOLDER [--only NAME]      # a folder with paintings_pd/ and paintings_cc0/

``shelf.json`` next to this file lists the paintings, their names, and why they are in the public domain.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import impasto
from impasto.images import Picture
from impasto.recipes.naming import name_style
from impasto.recipes.swatch import paint_swatch
from impasto.styles.named import SUFFIX, save_style

_SHELF = Path(__file__).with_name("shelf.json")
_DATA = Path(impasto.__file__).parent / "data" / "styles"


def cropped(picture: Picture, box: list[float]) -> Picture:
    """Crop a picture to a box (left, top, right, bottom), each from 0 to 1."""
    height, width = picture.size
    left, top, right, bottom = (round(part * side) for part, side in zip(box, (width, height) * 2, strict=True))
    return replace(picture, image=picture.image[..., top:bottom, left:right].contiguous(), alpha=None)


def ship(work: dict[str, Any], material: Path) -> Path:
    """Measure one painting, paint its swatch, and write its style file."""
    facts = {key: work[key] for key in ("name", "title", "artist", "date")}
    facts |= {"source": work.get("source", ""), "licence": work["free"]}
    picture = cropped(impasto.read(material / work["folder"] / work["file"]), work["crop"])
    path = _DATA / f"{work['name']}{SUFFIX}"
    save_style(path, name_style(picture, facts, paint_swatch(picture)))
    return path


def main() -> None:
    """Make all styles, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    shelf = json.loads(_SHELF.read_text())["styles"]
    names = {work["name"] for work in shelf}
    for path in _DATA.glob(f"*{SUFFIX}"):
        if path.name.removesuffix(SUFFIX) not in names:
            path.unlink()
    for work in shelf:
        if given.only in ("", work["name"]):
            path = ship(work, given.material)
            print(f"{work['name']}: {work['title']}, {path.stat().st_size / 1e3:.0f} kB", flush=True)
    sizes = [path.stat().st_size for path in _DATA.glob(f"*{SUFFIX}")]
    print(f"{len(sizes)} styles, {sum(sizes) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
