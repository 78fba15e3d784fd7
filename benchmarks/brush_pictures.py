"""Paint two photos of scikit-image with each included brush: docs/brushes.jpg.

python benchmarks/brush_pictures.py
"""

from pathlib import Path

import skimage.data

import impasto
from impasto import images
from impasto.images import contact_sheet
from impasto.networks.brush_files import brush_facts, shipped_brushes

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_CELL_PX = 320


def main() -> None:
    """Paint the photos, and write the sheet."""
    photos = [skimage.data.chelsea()[:, 75:375], skimage.data.astronaut()]  # type: ignore[no-untyped-call]
    shown = []
    for photo in photos:
        for name in shipped_brushes():
            image = impasto.apply(name, photo).image
            shown.append((image, brush_facts(name)["title"]))
    images.write(_DOCS / "brushes.jpg", contact_sheet(shown, columns=4, cell_px=_CELL_PX), quality=88)


if __name__ == "__main__":
    main()
