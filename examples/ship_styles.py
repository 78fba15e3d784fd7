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
    "bolognese-madonna": "Madonna of Humility",
    "bruges-lamentation": "The Lamentation",
    "cezanne-bather": "Standing Bather, Seen from the Back",
    "cottet-portrait": "Portrait of a Woman",
    "degas-costume-ball": "Portrait after a Costume Ball (Portrait of Madame Dietz-Monnin)",
    "degas-millinery-shop": "The Millinery Shop",
    "delacroix-lion-hunt": "Lion Hunt",
    "gauguin-arlesiennes": "Arlésiennes (Mistral)",
    "gauguin-seated-woman": "Woman in Front of a Still Life by Cezanne",
    "gauguin-why-are-you-angry": "No te aha oe riri (Why Are You Angry?)",
    "guillaumin-mill": "Mill of Pont Maupuit",
    "lautrec-ballet-dancers": "Ballet Dancers",
    "manet-sea-view": "Sea View, Calm Weather (Vue de mer, temps calme)",
    "monet-apples": "Apples and Grapes",
    "monet-belle-ile": "Rocks at Port-Goulphar, Belle-Île",
    "monet-bordighera": "Bordighera",
    "monet-cliff-walk": "Cliff Walk at Pourville",
    "monet-etretat": "Étretat: The Beach and the Falaise d'Amont",
    "monet-saint-lazare": "Arrival of the Normandy Train, Gare Saint-Lazare",
    "pissarro-place-du-havre": "The Place du Havre, Paris",
    "pissarro-well": "Woman and Child at the Well",
    "renoir-chrysanthemums": "Chrysanthemums",
    "renoir-near-the-lake": "Near the Lake",
    "renoir-seascape": "Seascape",
    "renoir-sewing": "Young Woman Sewing",
    "renoir-studies": "Studies of Pierre Renoir; His Mother, Aline Charigot; Nudes; and Landscape",
    "serusier-pouldu": "The Beach of Les Grands Sables at Le Pouldu",
    "seurat-grande-jatte": 'Oil Sketch for "A Sunday on La Grande Jatte — 1884"',
    "soria-saint-christopher": "Saint Christopher Meets Satan; Saint Christopher before the King of Lycia",
    "spanish-saint-catherine": "Saint Catherine Delivered from the Wheel",
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
    sizes = [path.stat().st_size for path in _DATA.glob(f"*{SUFFIX}")]
    print(f"{len(sizes)} styles, {sum(sizes) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
