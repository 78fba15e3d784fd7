"""The brush page in a real browser: train, watch, finish, download, paint with the brush."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver import Keys

from impasto.networks.brush_files import load_brush
from studio_browser import IN_A_BROWSER, Browser, open_browser, running_studio, small_picture

FIXTURES = (open_browser, running_studio, small_picture)
pytestmark = IN_A_BROWSER

STATE = "return document.querySelector('#training-going').dataset.state"
QUICK = {"style_size": "64", "edge": "64", "batch": "1"}


def prepared(page: Browser) -> None:
    """Open the page, and choose a small network and small pictures, so that steps are fast."""
    page.click("#to-training")
    page.until(lambda: page.is_seen("#training-start"))
    page.js("for (const each of document.querySelectorAll('.settings details')) each.open = true")
    for name, value in QUICK.items():
        field = page.find(f".settings:not([hidden]) [data-field='{name}']")
        field.clear()
        field.send_keys(value, Keys.TAB)
    page.js("document.querySelector(\".settings:not([hidden]) [data-field='network'] input\").click()")


def test_a_brush_is_trained_watched_finished_downloaded_and_used(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.give(picture)
    page.until(lambda: page.is_seen("#workspace"))
    prepared(page)
    page.click("#training-start")
    page.until(lambda: page.is_seen(".training-strip") and page.js("return document.querySelectorAll('polyline').length > 1"))
    assert "Style" in page.text(".training-losses")
    assert "Step" in page.text("#training-going .painting-line")
    page.driver.refresh()  # the training goes on, and the page shows it again
    page.until(lambda: page.is_seen(".training-strip") and page.js(STATE) == "running")
    page.click("#training-going [data-do='finish']")
    page.until(lambda: page.js(STATE) == "done")
    page.click("#training-download")
    (path,) = page.until(lambda: list(page.downloads.glob("*.brush")))
    assert load_brush(path).layout.width == 8
    page.until(lambda: page.js("return document.querySelectorAll('#training-brushes [data-brush^=\"r_\"]').length === 1"))
    page.until(lambda: "Paint the photo" in page.text("#training-apply"))
    page.click("#training-apply")
    page.until(
        lambda: page.is_seen("#result") and page.js("return document.querySelector('#result-title').value") == picture.name
    )
    assert not page.is_seen("#result-refine")
    page.key(Keys.ESCAPE)
    assert page.complaints() == []


def test_too_small_photos_of_the_user_are_refused_on_the_page_in_chinese(
    browser: Callable[..., Browser], tmp_path: Path
) -> None:
    import studio_pieces as pieces

    small = tmp_path / "small.png"
    small.write_bytes(pieces.photo((32, 32), "PNG"))
    page = browser(language="zh-CN")
    prepared(page)
    page.js("document.querySelector('#training-own').checked = true")
    page.find("#training-file").send_keys(str(small))
    page.until(lambda: "1" in page.text(".training-inputs [role='status']") and page.find("#training-start").is_enabled())
    page.click("#training-start")
    page.until(lambda: page.is_seen("#training-error"))
    assert "32 x 32" in page.text("#training-error")
    assert page.js(STATE) == "failed"


def test_the_page_works_on_a_phone(browser: Callable[..., Browser]) -> None:
    page = browser(phone=True)
    page.click("#to-training")
    page.until(lambda: page.is_seen("#training-start"))
    fits = """return [...document.querySelectorAll('#training-stage *')]
        .filter((e) => !e.closest('.styles > li'))  // the brushes scroll within their strip
        .every((e) => e.getBoundingClientRect().right <= innerWidth)"""
    assert page.js(fits)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    page.click("#to-studio")
    page.until(lambda: page.is_seen("#stage") and not page.is_seen("#training-start"))
