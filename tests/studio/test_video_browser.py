"""The video page in a real browser: upload, watch, cancel, continue, play, download."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

import av
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver import Keys

import studio_pieces as pieces
from studio_browser import IN_A_BROWSER, Browser, open_browser, running_studio
from studio_clips import clip

FIXTURES = (open_browser, running_studio)
pytestmark = IN_A_BROWSER

STATE = "return document.querySelector('#video-going').dataset.state"
SIZE = "return document.querySelector('.settings:not([hidden]) [data-field=size]').value"
NEWEST = "return fetch('/api/v1/jobs?limit=1').then((answer) => answer.json()).then(({ items }) => items[0].request.options)"
COUNT = "return fetch('/api/v1/jobs?limit=100').then((answer) => answer.json()).then(({ items }) => items.length)"
WITHOUT_PACKAGES = """const before = window.fetch;
const error = { code: 'extra', message: 'video needs av (PyAV)', field: null };
const refused = () => Promise.resolve(new Response(JSON.stringify({ error }), { status: 501 }));
window.fetch = (address, how) => (address.includes('/clips') ? refused() : before(address, how));"""
REFUSED_TO_DELETE = """const before = window.fetch;
const error = { code: 'state', message: 'the clip is needed', field: null };
const refused = () => Promise.resolve(new Response(JSON.stringify({ error }), { status: 409 }));
window.fetch = (address, how) => (how?.method === 'DELETE' ? refused() : before(address, how));"""
DROPPED = """const data = Uint8Array.from(atob(arguments[0]), (each) => each.charCodeAt(0));
const carried = new DataTransfer();
carried.items.add(new File([data], arguments[2], { type: arguments[3] }));
document.querySelector(arguments[1]).dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true }));"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "holiday.mp4"
    path.write_bytes(clip(150, (160, 120)))
    return path


def visited(page: Browser) -> None:
    page.click("#to-video")
    page.until(lambda: page.is_seen("#video-brushes li") and page.is_seen("#video-choose"))


def test_a_clip_is_uploaded_watched_cancelled_continued_played_and_downloaded(
    browser: Callable[..., Browser], film: Path, studio: pieces.Program
) -> None:
    page = browser()
    visited(page)
    page.click("#video-start")
    assert page.text("#video-clip-error") == "Choose a clip first."
    page.give(film, "#video-file")
    page.until(lambda: page.is_seen("#video-clip"))
    assert "160 × 120 · 5 seconds · 30 frames/s · with sound" in page.text("#video-clip")
    assert not page.is_seen("#video-clip-error")
    assert page.focused() == "video-start"
    page.key(Keys.ENTER)
    page.until(lambda: page.is_seen("#video-frame"))
    page.driver.refresh()  # the painting goes on, and the page shows it and the clip again
    page.until(lambda: page.is_seen("#video-clip"))
    page.until(lambda: int((re.findall(r"Frame (\d+)", page.text("#video-status")) or ["0"])[0]) > 61)
    page.click("#video-going [data-do='cancel']")
    page.until(lambda: page.js(STATE) == "cancelled")
    assert "Canceled at frame" in page.text("#video-status")
    page.click("#video-going [data-do='continue']")
    page.until(lambda: page.js(STATE) == "done")
    assert "saved to the gallery" in page.text("#video-status")
    page.until(lambda: page.js("return document.querySelector('#video-player').readyState > 0"))
    page.click("#video-download")
    (path,) = page.until(lambda: list(page.downloads.glob("*.mp4")))
    assert path.name == "holiday.mp4"
    page.until(lambda: path.stat().st_size > 0 and not list(page.downloads.glob("*.crdownload")))
    with av.open(str(path)) as painted:
        assert (sum(1 for _ in painted.decode(video=0)), len(painted.streams.audio)) == (150, 1)
    page.click("#to-gallery")
    page.click("#results li:first-child .result")
    page.until(lambda: page.is_seen("#result-video"))
    assert not page.is_seen("#result-board")
    assert "Frames" in page.text("#result-facts")
    page.key(Keys.ESCAPE)
    assert page.complaints() == []


def test_a_clip_that_is_dropped_on_the_first_page_opens_the_video_page(browser: Callable[..., Browser]) -> None:
    page = browser()
    page.js(DROPPED, base64.b64encode(clip(5)).decode(), "body", "dropped.mp4", "video/mp4")
    page.until(lambda: page.is_seen("#video-clip"))
    assert "dropped.mp4" in page.text("#video-clip")
    page.click("#video-remove")
    page.until(lambda: page.is_seen("#video-empty"))
    assert page.focused() == "video-choose"
    page.click(".notice button")  # undo
    page.until(lambda: page.is_seen("#video-clip"))
    assert page.complaints() == []


def test_a_double_click_paints_a_clip_once_and_another_clip_stays_when_one_cannot_be_removed(
    browser: Callable[..., Browser], film: Path
) -> None:
    page = browser()
    visited(page)
    page.give(film, "#video-file")
    page.until(lambda: page.is_seen("#video-clip"))
    before = page.js(COUNT)
    page.js("const start = document.querySelector('#video-start'); start.click(); start.click();")
    page.until(lambda: page.is_seen("#video-going"))
    page.until(lambda: page.js("return !document.querySelector('#video-start').hasAttribute('aria-busy')"))
    assert page.js(COUNT) == before + 1
    first = page.js("return document.querySelector('.recents li').dataset.clip")
    page.click("#video-remove")
    page.give(film, "#video-file")
    page.until(lambda: page.is_seen("#video-clip"))
    assert page.js("return document.querySelector('.video-clip img').src.includes(arguments[0])", first) is False
    page.js(REFUSED_TO_DELETE)
    page.js("window.dispatchEvent(new Event('pagehide'))")  # the notice ends, and the clip is to be deleted
    page.until(lambda: page.is_seen("#video-clip-error"))
    assert page.js("return document.querySelector('.video-clip img').src.includes(arguments[0])", first) is False


def test_a_style_that_is_selected_on_the_video_page_is_used_instead_of_the_brush(browser: Callable[..., Browser]) -> None:
    page = browser()
    visited(page)
    page.click("[data-style='the-scream'] .style")
    page.until(lambda: page.is_seen(".video-style"))
    assert "The Scream" in page.text(".video-style")
    assert not page.is_seen("#video-brushes")
    page.js(DROPPED, base64.b64encode(pieces.photo(kind="PNG")).decode(), "#shelf", "mine.png", "image/png")
    page.until(lambda: "mine" in page.text(".video-style"))  # a picture that is dropped on the styles becomes a style
    assert page.is_seen("#video-empty")


def test_a_clip_is_painted_step_by_step_after_its_time_was_predicted(browser: Callable[..., Browser], tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes(clip(3, (64, 48)))
    page = browser()
    visited(page)
    page.give(short, "#video-file")
    page.until(lambda: page.is_seen("#video-clip"))
    page.js("document.querySelector('#video-paint').click()")
    page.until(lambda: re.match(r"About .+ for this clip at 64 × 48\.", page.text("#video-prediction")))
    assert page.js(SIZE) == "320"
    page.js("document.querySelector('#video-style').click()")
    page.until(lambda: not page.is_seen("#video-prediction"))
    assert page.js(SIZE) == "0"
    page.js("document.querySelector('#video-paint').click()")
    page.click("#video-start")
    page.until(lambda: page.js(STATE) == "done")
    assert page.js(NEWEST) == {"size": 320, "method": "paint"}
    assert page.complaints() == []


def test_a_file_that_is_not_a_clip_is_refused_on_the_page_in_chinese(browser: Callable[..., Browser], tmp_path: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_bytes(b"nothing but words\n" * 99)
    page = browser(language="zh-CN")
    visited(page)
    page.give(words, "#video-file")
    page.until(lambda: page.is_seen("#video-clip-error"))
    assert "这个文件无法作为视频读取" in page.text("#video-clip-error")
    assert "'words.mp4' is not a clip" in page.text("#video-clip-error")
    assert page.is_seen("#video-choose")
    latin = page.js(
        """const seen = [...document.querySelectorAll('#video-stage *, .settings:not([hidden]) *, .actions:not([hidden]) *')]
          .filter((each) => each.checkVisibility() && !each.closest('.styles, .error, figure') && !each.children.length);
        const words = seen.map((each) => each.textContent.replace(/MP4|MOV|MKV|WebM|AVI|GIF|GB/g, ''));
        return words.filter((text) => /[A-Za-z]{3}/.test(text))"""
    )
    assert latin == []


def test_without_the_packages_for_video_the_page_says_how_to_install_them(browser: Callable[..., Browser]) -> None:
    page = browser()
    page.js(WITHOUT_PACKAGES)
    page.click("#to-video")
    page.until(lambda: page.is_seen("#video-missing"))
    assert "pip install 'impasto[video]'" in page.text("#video-missing")
    for name in ("#video-choose", "#video-start", "#video-brushes"):
        assert not page.is_seen(name)


def test_the_page_works_on_a_phone(browser: Callable[..., Browser], film: Path) -> None:
    page = browser(phone=True)
    visited(page)
    page.give(film, "#video-file")
    page.until(lambda: page.is_seen("#video-clip"))
    for mode in ("video-brush", "video-style", "video-paint"):
        page.js("document.getElementById(arguments[0]).click()", mode)
        fits = """return [...document.querySelectorAll('#video-stage *')]
          .filter((each) => !each.closest('.styles > li, .recents'))
          .every((each) => each.getBoundingClientRect().right <= innerWidth)"""
        assert page.js(fits), mode
        assert page.js("return document.documentElement.scrollWidth <= innerWidth"), mode
        small = page.js(
            """return [...document.querySelectorAll('#video-stage button, #video-stage input, .settings:not([hidden]) button')]
            .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.closest('.control-head'))
            .map((each) => [each.id || each.className, (each.closest('label') ?? each).getBoundingClientRect()])
            .filter(([, box]) => box.height < 43.5 || box.width < 40).map(([name]) => name)"""
        )
        assert small == [], mode
    page.click("#to-studio")
    page.until(lambda: page.is_seen("#shelf") and not page.is_seen("#video-start"))
