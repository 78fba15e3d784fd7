"""Fixtures for tests of the studio's page: a real browser, with methods for user actions."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

import studio_pieces as pieces

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
IN_A_BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its chromedriver"),
]

PATIENCE = 240.0
WORDS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
PAINTED = "return document.querySelector('#board .split-under').src"


class Browser:
    """A browser window, with methods for user actions."""

    def __init__(self, folder: Path, home: str, *, language: str = "en", phone: bool = False, dark: bool = False) -> None:
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for word in (*WORDS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900"):
            options.add_argument(word)
        self.downloads = folder / "downloads"
        self.downloads.mkdir()
        options.add_experimental_option(
            "prefs", {"intl.accept_languages": language, "download.default_directory": str(self.downloads)}
        )
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = Chrome(options=options, service=Service(DRIVER))
        self.home = home
        if phone:
            size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        features = [scheme, {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")  # leave the start page of the browser, which may still be loading
        self.requests()  # discard the requests of that page
        self.open()

    def open(self, path: str = "") -> None:
        self.driver.get(self.home + path)
        self.until(lambda: self.js("return document.body.dataset.ready === 'yes'"))

    def js(self, source: str, *values: Any) -> Any:
        return self.driver.execute_script(source, *values)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def until(self, what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        until, found = time.monotonic() + seconds, None
        while time.monotonic() < until:
            with contextlib.suppress(WebDriverException):
                if found := what():
                    return found
            time.sleep(0.05)
        raise AssertionError(f"still {found!r} after {seconds} seconds; text of the page: {self.find('body').text[:600]!r}")

    def click(self, selector: str) -> None:
        """Click as soon as it is possible; lists are redrawn while events arrive."""

        def clicked() -> bool:
            element = self.find(selector)
            self.js("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
            element.click()
            return True

        self.until(clicked, seconds=60)

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def is_seen(self, selector: str) -> bool:
        return bool(self.js("return document.querySelector(arguments[0])?.checkVisibility() ?? false", selector))

    def give(self, photo: Path, chooser: str = "#photo-file") -> None:
        self.find(chooser).send_keys(str(photo))

    def instant(self, photo: Path) -> str:
        """Choose a photo, and wait for the instant picture."""
        before = self.js(PAINTED)
        self.give(photo)
        return self.repainted(before)

    def repainted(self, before: str) -> str:
        return str(self.until(lambda: (now := self.js(PAINTED)) != before and "/results/" in now and now))

    def paint(self, **options: str) -> None:
        """Press Paint, with some options of the painter."""
        self.js("for (const each of document.querySelectorAll('#paint-more details')) each.open = true")
        for name, value in options.items():
            field = self.find(f":is(#paint-basic, #paint-more) [data-field='{name}']")
            field.clear()
            field.send_keys(value, Keys.TAB)
        self.click("#paint")

    def state(self, *states: str) -> None:
        self.until(lambda: self.js("return document.querySelector('#painting').dataset.state") in states)

    def focused(self) -> str:
        return str(self.js("const e = document.activeElement; return e.dataset.field || e.id || e.className"))

    def key(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, wanted: Callable[[], bool], most: int = 120) -> None:
        for _ in range(most):
            self.key(Keys.TAB)
            if wanted():
                return
        raise AssertionError("the tab key does not reach this element")

    def complaints(self) -> list[str]:
        return [each["message"] for each in self.driver.get_log("browser") if each["level"] == "SEVERE"]

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(each["message"])["message"] for each in self.driver.get_log("performance")]


@pytest.fixture(name="studio", scope="module")
def running_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pieces.Program]:
    running = pieces.started(tmp_path_factory.mktemp("studio") / "data")
    yield running
    running.kill()


@pytest.fixture(name="browser")
def open_browser(studio: pieces.Program, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    opened: list[Browser] = []

    def open_(**how: Any) -> Browser:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Browser(folder, f"http://127.0.0.1:{studio.port}/", **how))
        return opened[-1]

    yield open_
    for each in opened:
        each.driver.quit()


@pytest.fixture(name="picture", scope="session")
def small_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "face.jpg"
    path.write_bytes(pieces.photo((160, 120)))
    return path
