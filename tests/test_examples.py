"""The examples that use exported brushes: in Python and in the browser."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.io
import torch

from impasto.networks.brush_files import load_brush, save_brush
from impasto.networks.johnson import Johnson, Layout

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
HOME = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
RUNTIME = next(iter(sorted(HOME.glob("impasto/runtime/onnxruntime-web-*"))), None)
"""Downloaded by impasto studio --fetch-live; None if it was not."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a brush, its graph and a photo."""
    from impasto.networks.onnx_precision import save_checked

    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "tiny"})
    save_checked(tmp_path / "starry.onnx", load_brush(tmp_path / "tiny.brush"), "fp32")
    skimage.io.imsave(tmp_path / "photo.png", skimage.data.astronaut()[:203:2, :301:3])
    return tmp_path


def painted(folder: Path) -> np.ndarray:
    photo = torch.from_numpy(skimage.io.imread(folder / "photo.png") / 255.0).float().permute(2, 0, 1)[None]
    picture = load_brush(folder / "tiny.brush")(photo)[0].clamp(0, 1)
    return (255 * picture).permute(1, 2, 0).numpy()


@pytest.mark.slow
def test_the_python_example_paints_a_photo(folder: Path) -> None:
    words = [sys.executable, str(EXAMPLES / "onnx_python.py"), "starry.onnx", "photo.png", "painted.png"]
    subprocess.run(words, cwd=folder, check=True, timeout=120)
    found = skimage.io.imread(folder / "painted.png")
    assert np.abs(found - painted(folder)).max() <= 1


@pytest.mark.skipif(not shutil.which("node"), reason="no Node.js")
def test_the_script_of_the_web_example_is_valid(tmp_path: Path) -> None:
    (script,) = re.findall(r'<script type="module">(.*?)</script>', (EXAMPLES / "onnx_web.html").read_text(), re.DOTALL)
    (tmp_path / "a.mjs").write_text(script)
    subprocess.run(["node", "--check", "a.mjs"], cwd=tmp_path, check=True, timeout=60)


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    shutil.copy(EXAMPLES / "onnx_web.html", folder)
    (folder / "runtime").symlink_to(RUNTIME or folder)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium")
@pytest.mark.skipif(RUNTIME is None, reason="onnxruntime-web is not downloaded")
def test_the_web_example_paints_a_photo(folder: Path, address: str) -> None:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(f"{address}onnx_web.html?runtime=./runtime/&graph=starry.onnx")
        WebDriverWait(browser, 120).until(lambda b: b.find_element("css selector", "p").text == "Choose a photo")
        browser.find_element("css selector", "input").send_keys(str(folder / "photo.png"))
        WebDriverWait(browser, 120).until(lambda b: "×" in b.find_element("css selector", "p").text)
        read = "return Array.from(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 101, 102).data)"
        found = np.array(json.loads(json.dumps(browser.execute_script(read)))).reshape(102, 101, 4)[..., :3]
    finally:
        browser.quit()
    assert np.abs(found - painted(folder)).max() <= 2
