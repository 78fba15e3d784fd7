"""Measure the named styles that come with impasto: statistics of CC0 paintings, with their facts from the catalogue.

python examples/ship_styles.py PAINTINGS_FOLDER     # a folder with catalogue.json, as of the Art Institute of Chicago
"""

import json
import sys
from pathlib import Path

import impasto
from impasto.recipes.naming import name_style
from impasto.styles import SUFFIX, save_style

_NAMES = {
    "delacroix-lion-hunt": "Lion Hunt",
    "gauguin-arlesiennes": "Arlésiennes (Mistral)",
    "lautrec-ballet-dancers": "Ballet Dancers",
    "monet-etretat": "Étretat: The Beach and the Falaise d'Amont",
    "serusier-pouldu": "The Beach of Les Grands Sables at Le Pouldu",
    "seurat-grande-jatte": 'Oil Sketch for "A Sunday on La Grande Jatte — 1884"',
    "tuscan-virgin": "Virgin and Child",
    "vallotton-red-room": "The Red Room, Etretat",
}
_DATA = Path(__file__).resolve().parents[1] / "src" / "impasto" / "data" / "styles"


def main(folder: Path) -> None:
    """Measure each painting and write its style file."""
    works = {work["title"]: work for work in json.loads((folder / "catalogue.json").read_text())}
    _DATA.mkdir(parents=True, exist_ok=True)
    for name, title in _NAMES.items():
        work = works[title]
        facts = {key: work[key] for key in ("title", "artist", "date", "source", "licence")} | {"name": name}
        save_style(_DATA / f"{name}{SUFFIX}", name_style(impasto.read(folder / work["file"]), facts))
        print(name, "-", work["title"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
