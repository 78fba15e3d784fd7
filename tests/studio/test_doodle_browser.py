"""The doodle page in a real browser: draw, fill, undo, choose a style and a map, paint."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Keys

import studio_pieces as pieces
from studio_browser import IN_A_BROWSER, Browser, open_browser, running_studio, small_picture

FIXTURES = (open_browser, running_studio, small_picture)
pytestmark = IN_A_BROWSER

CANVAS = "#doodle-stage canvas.mask"
COLORS = """const c = document.querySelector('#doodle-stage canvas.mask');
const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data, counts = {};
for (let i = 0; i < data.length; i += 4) {
  const key = [data[i], data[i + 1], data[i + 2]].join();
  counts[key] = (counts[key] ?? 0) + 1;
}
return counts;"""
READY = "return !document.querySelector('#doodle-paint').disabled && document.querySelectorAll('#doodle-colors input').length"
RESULT = "return document.querySelector('.doodle-result').src"


def opened(page: Browser) -> Browser:
    page.click("#to-doodle")
    ready(page)
    return page


def ready(page: Browser) -> None:
    page.until(lambda: page.js(READY))


def colors(page: Browser) -> dict[str, int]:
    return dict(page.js(COLORS))


def choose(page: Browser, index: int) -> None:
    page.click(f"#doodle-colors label:nth-child({index + 1})")


def drag(page: Browser, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line between two points, given as shares of the canvas."""
    canvas = page.find(CANVAS)
    page.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    x, y = round((start[0] - 0.5) * width), round((start[1] - 0.5) * height)
    by = round((end[0] - start[0]) * width), round((end[1] - start[1]) * height)
    ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).click_and_hold().move_by_offset(*by).release().perform()


def small(page: Browser) -> None:
    field = page.find(".settings:not([hidden]) [data-field='size']")
    field.clear()
    field.send_keys("96", Keys.TAB)


def painted(page: Browser) -> str:
    before = page.js(RESULT)
    page.click("#doodle-paint")
    page.until(lambda: page.js("return document.querySelector('#doodle-going').dataset.state") in ("done", "failed"))
    assert page.js("return document.querySelector('#doodle-going').dataset.state") == "done", page.text("#doodle-error")
    return str(page.until(lambda: (now := page.js(RESULT)) != before and "/results/" in now and now))


def image(studio: pieces.Program, path: str) -> np.ndarray:
    answer = studio.client.get(path.split("/api/v1")[1])
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)).convert("RGB"), dtype=np.float32)


def test_two_regions_are_drawn_and_painted_as_their_colors_say(browser: Callable[..., Browser], studio: pieces.Program) -> None:
    page = opened(browser())
    page.click("[data-style='great-wave'] .style")
    page.until(lambda: "great-wave" in page.js("return document.querySelector('#doodle-stage figure img').src"))
    ready(page)
    small(page)
    pairs = {}
    suggested, style = (image(studio, f"/api/v1/styles/great-wave/{name}") for name in ("map", "picture"))
    style = np.asarray(PIL.Image.fromarray(style.astype(np.uint8)).resize(suggested.shape[1::-1]), dtype=np.float32)
    palette = page.js("return [...document.querySelectorAll('#doodle-colors .dot')].map((each) => each.style.backgroundColor)")
    for index, color in enumerate(palette):
        rgb = [int(each) for each in color.removeprefix("rgb(").removesuffix(")").split(",")]
        pairs[index] = style[(suggested == rgb).all(-1)].mean()
    dark, bright = min(pairs, key=lambda each: pairs[each]), max(pairs, key=lambda each: pairs[each])
    page.click("#doodle-fill")
    choose(page, dark)
    drag(page, (0.5, 0.5), (0.5, 0.5))
    assert len(colors(page)) == 1
    page.js("document.querySelector('[name=doodle-tool]').click()")
    page.js("const e = document.querySelector('#doodle-size'); e.value = 40; e.dispatchEvent(new Event('input'))")
    choose(page, bright)
    for row in (0.7, 0.95):
        drag(page, (0.02, row), (0.98, row))
    assert len(colors(page)) == 2  # strokes have no soft edges
    first = painted(page)
    pixels = image(studio, first)
    assert pixels.shape == (64, 96, 3)
    assert pixels[:18].mean() < pixels[40:].mean() - 40
    request = studio.client.get(f"/results/{first.split('/')[-2]}").json()["request"]
    assert (request["kind"], request["styles"], request["content"]) == ("doodle", ["great-wave"], None)
    page.click("[name='doodle-view']")
    page.click("#doodle-clear")
    choose(page, bright)
    drag(page, (0.02, 0.1), (0.98, 0.1))
    second = painted(page)
    assert np.abs(image(studio, second) - pixels).mean() > 10
    page.click("#doodle-open")
    page.until(lambda: page.is_seen("#result"))
    assert not page.is_seen("#result-refine")
    page.key(Keys.ESCAPE)
    assert page.complaints() == []


def test_strokes_fill_and_clear_can_be_taken_back(browser: Callable[..., Browser]) -> None:
    page = opened(browser())
    assert len(colors(page)) == 1
    assert page.find("#doodle-undo").get_attribute("disabled")
    choose(page, 1)
    drag(page, (0.2, 0.5), (0.8, 0.5))
    drawn = colors(page)
    assert len(drawn) == 2
    page.click("#doodle-clear")
    assert len(colors(page)) == 1
    page.click("#doodle-undo")
    assert colors(page) == drawn
    page.click("#doodle-undo")
    assert len(colors(page)) == 1
    page.click("#doodle-fill")
    choose(page, 2)
    drag(page, (0.5, 0.5), (0.5, 0.5))
    (filled,) = colors(page)
    page.click("#doodle-undo")
    assert filled not in colors(page)


def test_a_doodle_is_drawn_with_the_keyboard(browser: Callable[..., Browser]) -> None:
    page = opened(browser())
    page.find("#doodle-colors input:checked").send_keys(Keys.ARROW_RIGHT)  # the palette is a group of radio buttons
    page.js("document.querySelector('#doodle-stage canvas.mask').focus()")
    page.key(" ", Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_UP, " ")
    assert len(colors(page)) == 2
    before = colors(page)
    page.key(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert colors(page) == before
    names = page.js("return [...document.querySelectorAll('#doodle-colors input')].map((each) => each.ariaLabel)")
    assert names[0].startswith("Color 1: ")
    assert len(set(names)) == len(names)


def test_the_drawing_takes_the_colors_of_another_style(browser: Callable[..., Browser]) -> None:
    page = opened(browser())
    choose(page, 1)
    drag(page, (0.2, 0.5), (0.8, 0.5))
    before = colors(page)
    page.click("[data-style='water-lilies'] .style")
    page.until(lambda: page.js(READY) and colors(page) != before)
    assert sorted(colors(page).values()) == sorted(before.values())


def test_a_photo_is_drawn_over_and_gives_the_doodle_its_shape(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = opened(browser())
    page.give(picture)
    page.until(lambda: page.is_seen(".doodle-photo"))
    assert page.js("const c = document.querySelector('#doodle-stage canvas.mask'); return c.width / c.height") == pytest.approx(
        4 / 3, abs=0.01
    )
    assert page.is_seen(".settings:not([hidden]) [data-field='content_weight']")
    small(page)
    choose(page, 1)
    drag(page, (0.1, 0.8), (0.9, 0.8))
    result = studio.client.get(f"/results/{painted(page).split('/')[-2]}").json()
    assert (result["width"], result["height"]) == (96, 72)
    assert result["request"]["content"] == result["upload"]
    page.click("#to-studio")
    page.until(lambda: page.is_seen("#paint"))
    assert not page.is_seen(CANVAS)


def test_a_style_map_is_uploaded_and_gives_the_palette(
    browser: Callable[..., Browser], studio: pieces.Program, tmp_path: Path
) -> None:
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[40:] = (250, 200, 10)
    path = tmp_path / "map.png"
    PIL.Image.fromarray(pixels).save(path)
    page = opened(browser())
    small(page)
    page.give(path, "#doodle-file")
    page.until(lambda: page.js(READY) == 2)
    assert list(colors(page)) == ["0,0,0"]
    choose(page, 1)
    drag(page, (0.1, 0.8), (0.9, 0.8))
    assert set(colors(page)) == {"0,0,0", "250,200,10"}
    request = studio.client.get(f"/results/{painted(page).split('/')[-2]}").json()["request"]
    assert studio.client.get(f"/uploads/{request['style_map']}").json()["width"] == 90
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    page.give(bad, "#doodle-file")
    page.until(lambda: page.is_seen("#doodle-error"))


def test_a_doodle_is_cancelled_on_the_page(browser: Callable[..., Browser]) -> None:
    page = opened(browser())
    choose(page, 1)
    drag(page, (0.1, 0.8), (0.9, 0.8))
    page.click("#doodle-paint")
    page.click("#doodle-going [data-do='cancel']")
    page.until(lambda: page.js("return document.querySelector('#doodle-going').dataset.state") == "cancelled")
    assert page.is_seen("#doodle-going [data-do='retry']")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_fits_a_phone_and_is_drawn_on_with_a_finger(browser: Callable[..., Browser], language: str) -> None:
    page = browser(phone=True, language=language)
    narrow = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    opened(page)
    assert page.js("return document.documentElement.scrollWidth") <= 360
    low = page.js(
        """return [...document.querySelectorAll('button, select, input:not([type=range], [type=file]), a')]
        .filter((each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
        .filter((each) => !each.closest('.skip, .control-head'))
        .map((each) => [each.id || each.className || each.name, (each.closest('label') ?? each).getBoundingClientRect()])
        .filter(([, box]) => box.height && (box.height < 43.5 || box.width < 40)).map(([name]) => name)"""
    )
    assert low == []
    choose(page, 1)
    canvas = page.find(CANVAS)
    page.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = page.js("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    y = box["y"] + box["height"] / 2
    for kind, x in (("touchStart", 0.2), ("touchMove", 0.5), ("touchMove", 0.8), ("touchEnd", None)):
        points = [] if x is None else [{"x": box["x"] + x * box["width"], "y": y}]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        time.sleep(0.05)
    page.until(lambda: len(colors(page)) == 2)
    assert page.complaints() == []


def test_its_module_is_loaded_when_the_page_is_first_opened(browser: Callable[..., Browser]) -> None:
    page = browser()

    def asked() -> list[str]:
        sent = [each["params"] for each in page.requests() if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent if "doodle" in each["request"]["url"]]

    assert asked() == []
    opened(page)
    assert {each.rsplit("/", 1)[1] for each in asked()} == {"doodle.js", "doodle.css"}
    page.driver.refresh()
    page.until(lambda: page.js("return document.body.dataset.ready === 'yes'"))
    ready(page)
    assert page.is_seen(CANVAS)
    assert not page.is_seen("#choose-photo")
