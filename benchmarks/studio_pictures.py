"""Take the pictures of the studio for the documentation, in Chromium: docs/studio/*.webp.

python benchmarks/studio_pictures.py
"""

import importlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image
import skimage.data

_ROOT = Path(__file__).resolve().parent.parent
_FOLDER = _ROOT / "docs" / "studio"
_DESK, _PHONE = (1400, 880), (390, 844)
_GAP_PX = 20
sys.path.append(str(_ROOT / "tests" / "studio"))
pieces: Any = importlib.import_module("studio_pieces")
browsers: Any = importlib.import_module("studio_browser")


class Camera:
    """A browser at a fixed size, and the pictures that it takes."""

    def __init__(self, folder: Path, home: str, size: tuple[int, int], *, scale: float = 1.0, **how: Any) -> None:
        folder.mkdir()
        self.page = browsers.Browser(folder, home, **how)
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": scale, "mobile": size == _PHONE}
        self.page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def picture(self) -> PIL.Image.Image:
        """Wait until all pictures on the page are loaded; take its picture."""
        self.page.js("document.activeElement.blur()")
        self.page.until(lambda: self.page.js("return [...document.images].every((each) => !each.src || each.complete)"))
        time.sleep(1)
        return PIL.Image.open(io.BytesIO(self.page.driver.get_screenshot_as_png())).convert("RGB")

    def save(self, name: str) -> None:
        save(self.picture(), name)

    def style(self, name: str) -> None:
        """Select a style, and wait for the instant picture."""
        before = self.page.js(browsers.PAINTED)
        self.page.click(f"[data-style='{name}'] .style")
        self.page.repainted(before)
        self.page.js("document.querySelector('#shelf').scrollTop = 0")


def save(image: PIL.Image.Image, name: str) -> None:
    path = _FOLDER / f"{name}.webp"
    image.save(path, quality=82, method=6)
    print(f"{path.relative_to(_ROOT)}: {image.width} × {image.height}, {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Take every picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = {each: folder / f"{each}.jpg" for each in ("chelsea", "coffee", "astronaut")}
        for each, path in photos.items():
            PIL.Image.fromarray(getattr(skimage.data, each)()).save(path, quality=95)
        running = pieces.started(folder / "data")
        home = f"http://127.0.0.1:{running.port}/"
        try:
            with _camera(folder / "light", home, _DESK) as camera:
                _light(camera, photos["chelsea"])
            with _camera(folder / "dark", home, _DESK, dark=True) as camera:
                _dark(camera, photos)
            with _camera(folder / "phone", home, _PHONE, scale=1.4, language="zh-CN,zh", phone=True) as camera:
                save(_side_by_side(list(_phone(camera, photos["chelsea"]))), "phone-chinese")
        finally:
            running.kill()


@contextmanager
def _camera(*where: Any, **how: Any) -> Iterator[Camera]:
    camera = Camera(*where, **how)
    try:
        yield camera
    finally:
        camera.page.driver.quit()


def _light(camera: Camera, photo: Path) -> None:
    page = camera.page
    page.instant(photo)
    camera.style("the-kiss")
    camera.save("studio")
    page.click("#keep")
    camera.style("starry-night")
    page.click("#keep")
    page.paint(size="384")
    page.until(lambda: "/preview" in page.js(browsers.PAINTED) and _share(page) > 0.3)
    page.js("for (const each of document.querySelectorAll('#settings details')) each.open = false")
    page.js("document.querySelector('#settings').scrollTop = 1e5")
    camera.save("painting")
    page.click("[data-do='finish']")
    page.state("done")


def _share(page: Any) -> float:
    return float(page.js("return document.querySelector('#painting-bar').value"))


def _dark(camera: Camera, photos: dict[str, Path]) -> None:
    page = camera.page
    page.instant(photos["astronaut"])
    for style in ("great-wave", "mosaic"):
        camera.style(style)
        page.click("#keep")
    page.instant(photos["coffee"])
    camera.style("water-lilies")
    page.click("#keep")
    page.click("#mix")
    camera.style("the-scream")
    page.click("#mask-toggle")
    page.click("#mask-shapes button:nth-child(6)")  # the middle
    page.js("for (const each of ['#shelf', '#stage']) document.querySelector(each).scrollTop = 0")
    camera.save("mask-dark")
    page.click("#mask-done")
    page.click("#to-gallery")
    page.until(lambda: page.js("return document.querySelectorAll('#results li').length") >= 5)
    page.until(lambda: not page.is_seen(".notice"))
    camera.save("gallery-dark")


def _phone(camera: Camera, photo: Path) -> Iterator[PIL.Image.Image]:
    page = camera.page
    yield camera.picture()
    page.instant(photo)
    camera.style("the-kiss")
    page.js("scrollTo(0, 0)")
    yield camera.picture()
    page.js("document.querySelector('#paint-more').scrollIntoView({ block: 'end' }); scrollBy(0, 120)")
    yield camera.picture()


def _side_by_side(images: list[PIL.Image.Image]) -> PIL.Image.Image:
    width = sum(each.width + _GAP_PX for each in images) - _GAP_PX
    joined = PIL.Image.new("RGB", (width, images[0].height), "#8b908d")
    left = 0
    for each in images:
        joined.paste(each, (left, 0))
        left += each.width + _GAP_PX
    return joined


if __name__ == "__main__":
    main()
