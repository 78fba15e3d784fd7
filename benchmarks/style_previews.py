"""Paint the previews of the bundled named styles: a photo of Eileen Collins (NASA, public domain) in each style.

python benchmarks/style_previews.py [--only NAME]     # src/impasto/data/style-previews/*.webp, and docs/styles.jpg
"""

import argparse
from pathlib import Path

import skimage.data

import impasto
from impasto import images
from impasto.images import contact_sheet, resize
from impasto.styles.named import shipped_styles

_FOLDER = Path(impasto.__file__).parent / "data" / "style-previews"
_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAINTED_PX, _SHOWN_PX, _QUALITY = 320, 192, 40


def main() -> None:
    """Paint all previews, or one; print their total size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    _FOLDER.mkdir(exist_ok=True)
    names = list(shipped_styles())
    for path in _FOLDER.glob("*.webp"):
        if path.stem not in names:
            path.unlink()
    photo = impasto.read(skimage.data.astronaut()[:320, 64:384])  # type: ignore[no-untyped-call]
    shown = []
    for name in names:
        if given.only in ("", name):
            image = impasto.paint(photo, name, size=_PAINTED_PX).image
            images.write(_FOLDER / f"{name}.webp", resize(image, (_SHOWN_PX, _SHOWN_PX)), quality=_QUALITY)
            shown.append((image, name))
            print(name, flush=True)
    if not given.only:
        images.write(_DOCS / "styles.jpg", contact_sheet(shown, columns=8, cell_px=_SHOWN_PX), quality=85)
    files = list(_FOLDER.glob("*.webp"))
    print(f"{len(files)} previews, {sum(each.stat().st_size for each in files) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
