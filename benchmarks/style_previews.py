"""Paint the small previews of the shipped styles that the studio shows: Eileen Collins (NASA, public domain) in each.

python benchmarks/style_previews.py
"""

from pathlib import Path

import impasto
from impasto import images
from impasto.studio.orders import style_on_astronaut
from impasto.styles import shipped_styles

FOLDER = Path(impasto.__file__).parent / "data" / "style-previews"
_QUALITY = 70


def main() -> None:
    """Paint them all, and say what they take."""
    FOLDER.mkdir(exist_ok=True)
    for name, path in shipped_styles().items():
        images.write(FOLDER / f"{name}.webp", style_on_astronaut(path).image, quality=_QUALITY)
    files = list(FOLDER.glob("*.webp"))
    print(f"{len(files)} previews, {sum(each.stat().st_size for each in files) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
