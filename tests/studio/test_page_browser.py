"""The studio's page in a real browser, from the upload to the download."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains, Keys

import studio_pieces as pieces
from impasto.options import InstantOptions, PaintOptions, Run, tiers_of
from impasto.recipes.presets import PRESETS, RECIPES
from studio_browser import IN_A_BROWSER, PAINTED, Browser, open_browser, running_studio, small_picture

FIXTURES = (open_browser, running_studio, small_picture)
pytestmark = IN_A_BROWSER

LITTLE = {"size": "128", "steps": "25"}


def image(studio: pieces.Program, path: str) -> np.ndarray:
    answer = studio.client.get(path.split("/api/v1")[1])
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)).convert("RGB"), dtype=np.float32)


# ---------------------------------------------------------------------------------------------------- upload, paint, download


def test_a_photo_is_uploaded_painted_cancelled_continued_and_downloaded(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    page.paint(**LITTLE)
    page.until(lambda: "preview" in page.js(PAINTED))
    page.click("[data-do='cancel']")
    page.state("cancelled")
    assert "Canceled at step" in page.text("#painting-line")
    page.click("[data-do='continue']")
    page.state("done")
    page.until(lambda: "/results/" in page.js(PAINTED))
    page.click("#download")
    page.click("#form input[value='webp']")
    page.click("#fetch")
    (file,) = page.until(lambda: list(page.downloads.glob("*.webp")))
    with PIL.Image.open(file) as downloaded:
        assert downloaded.format == "WEBP"
        assert downloaded.size == (128, 96)
    page.until(lambda: not page.is_seen("#saving"))
    assert page.complaints() == []


COMES_IN = {
    "dropped": "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true }))",
    "pasted": "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: carried, bubbles: true }))",
}


@pytest.mark.parametrize("how", [*COMES_IN, "taken"])
def test_a_photo_can_be_dropped_pasted_or_taken(browser: Callable[..., Browser], how: str) -> None:
    page = browser()
    if how == "taken":
        page.click("#take-photo")
        page.until(lambda: page.js("return document.querySelector('#viewfinder').videoWidth > 0"))
        page.click("#shoot")
    else:
        page.js(
            """const canvas = document.createElement('canvas');
            canvas.width = 90;
            canvas.height = 60;
            canvas.toBlob((blob) => {
              const carried = new DataTransfer();
              carried.items.add(new File([blob], 'gray.png', { type: 'image/png' }));
              DOES;
            });""".replace("DOES", COMES_IN[how])
        )
    page.until(lambda: "/results/" in page.js(PAINTED))
    assert page.text("#photo-name") == ("camera.jpg" if how == "taken" else "gray.png")
    assert page.complaints() == []


def test_changing_style_or_strength_repaints_the_instant_picture_as_a_draft(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    kept = len(studio.client.get("/results").json()["items"])
    first = page.instant(picture)
    page.click("[data-style='water-lilies'] .style")
    second = page.repainted(first)
    page.find("#instant-basic [data-field='strength']").send_keys(Keys.ARROW_LEFT)
    third = page.repainted(second)
    request = studio.client.get(f"/results/{third.split('/')[-2]}").json()["request"]
    assert request["styles"] == ["water-lilies"]
    assert 0.9 < request["options"]["strength"] < 1
    assert len(studio.client.get("/results").json()["items"]) == kept
    assert page.complaints() == []


def test_several_styles_are_mixed_by_weight(browser: Callable[..., Browser], studio: pieces.Program, picture: Path) -> None:
    page = browser()
    first = page.instant(picture)
    page.click("#mix")
    page.click("[data-style='renoir-chrysanthemums'] .style")
    second = page.repainted(first)
    page.find("#chosen input[type='range']").send_keys(Keys.HOME)
    third = page.repainted(second)
    weights = studio.client.get(f"/results/{third.split('/')[-2]}").json()["request"]["options"]["style_weights"]
    assert weights[0] == 0
    assert weights[1] > 0
    assert page.text("#chosen li:last-child output") == "100 %"


def test_outside_a_drawn_mask_the_photo_stays(browser: Callable[..., Browser], studio: pieces.Program, picture: Path) -> None:
    page = browser()
    first = page.instant(picture)
    page.click("#mask-toggle")
    canvas = page.find("canvas.mask")
    page.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    draw = ActionChains(page.driver).move_to_element_with_offset(canvas, -round(width * 0.35), -round(height * 0.4))
    draw.click_and_hold().move_by_offset(0, round(height * 0.8)).release().perform()
    masked = page.repainted(first)
    page.click("#mask-done")
    asked = studio.client.get(f"/results/{masked.split('/')[-2]}").json()["request"]
    mask = image(studio, f"/api/v1/uploads/{asked['masks'][0]}/image")
    height, width = mask.shape[:2]
    assert mask[round(height * 0.3) : round(height * 0.7), round(width * 0.12) : round(width * 0.18)].min() > 225
    assert mask[:, width // 2 :].max() < 30
    photo = image(studio, f"/api/v1/uploads/{asked['content']}/image")
    change = np.abs(image(studio, masked) - photo).mean(axis=(0, 2))
    assert change[len(change) // 2 :].mean() < 6
    assert change[5:20].mean() > 2 * change[len(change) // 2 :].mean()
    page.click("#mask-toggle")
    page.click("#mask-clear")
    page.repainted(masked)
    assert page.complaints() == []


def test_a_drawn_protected_area_stays_the_photo(browser: Callable[..., Browser], studio: pieces.Program, picture: Path) -> None:
    page = browser()
    first = page.instant(picture)
    page.click("#mask-toggle")
    page.click("#mask-styles label:last-child")
    page.click("#mask-shapes button:nth-child(2)")  # the left half
    kept = page.repainted(first)
    asked = studio.client.get(f"/results/{kept.split('/')[-2]}").json()["request"]
    assert "masks" not in asked
    (drawn,) = asked["protect"]
    mask = image(studio, f"/api/v1/uploads/{drawn}/image")
    assert mask[:, : mask.shape[1] // 2 - 2].min() > 225
    assert mask[:, mask.shape[1] // 2 + 2 :].max() < 30
    photo = image(studio, f"/api/v1/uploads/{asked['content']}/image")
    change = np.abs(image(studio, kept) - photo).mean(axis=(0, 2))
    assert change[: len(change) // 2 - 5].mean() < 6
    assert change[len(change) // 2 + 5 :].mean() > 2 * change[: len(change) // 2 - 5].mean()
    page.click("#mask-clear")
    cleared = page.repainted(kept)
    assert "protect" not in studio.client.get(f"/results/{cleared.split('/')[-2]}").json()["request"]
    assert page.complaints() == []


def test_a_new_mask_is_used_without_waiting_for_its_upload(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    page.click("#mask-toggle")
    page.click("#mask-shapes button:nth-child(2)")  # the left half
    page.paint(size="96", steps="8", feather="0")  # without waiting for the upload of the mask
    page.state("done")
    page.until(lambda: "/results/" in page.js(PAINTED))
    painted = page.js(PAINTED)
    asked = studio.client.get(f"/results/{painted.split('/')[-2]}").json()["request"]
    assert asked["kind"] == "paint"
    assert len(asked["masks"]) == 1
    photo = image(studio, f"/api/v1/uploads/{asked['content']}/image")
    small = np.asarray(PIL.Image.fromarray(photo.astype(np.uint8)).resize((96, 72)), dtype=np.float32)
    change = np.abs(image(studio, painted) - small).mean(axis=(0, 2))
    assert change[:40].mean() > 3 * change[56:].mean()
    assert page.complaints() == []


def test_a_protected_area_can_be_selected_by_name(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    first = page.instant(picture)
    page.click("#mask-toggle")
    page.js("const s = document.querySelector('#mask-protect'); s.value = 'auto:skin'; s.dispatchEvent(new Event('change'))")
    second = page.repainted(first)
    assert studio.client.get(f"/results/{second.split('/')[-2]}").json()["request"]["protect"] == ["auto:skin"]
    assert page.complaints() == []


def test_a_result_is_measured_and_its_figures_are_shown_in_a_table(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    page.click("#keep")
    page.until(lambda: page.is_seen(".notice"))
    page.click("#to-gallery")
    page.click("#results li:first-child .result")
    page.until(lambda: page.is_seen("#result-measure"))
    page.click("#result-measure")
    page.until(lambda: page.is_seen("#result-figures table"))
    assert page.js("return document.querySelectorAll('#result-figures tbody tr').length") == 13
    assert "Style reached" in page.text("#result-figures")
    assert not page.is_seen("#result-again")
    page.js("const l = document.querySelector('#language'); l.value = 'zh'; l.dispatchEvent(new Event('change'))")
    page.until(lambda: "风格完成度" in page.text("#result-figures"))
    page.js("const l = document.querySelector('#language'); l.value = 'en'; l.dispatchEvent(new Event('change'))")
    page.key(Keys.ESCAPE)
    page.until(lambda: page.js("return document.querySelectorAll('#results li').length") >= 2)
    for number in (1, 2):
        page.click(f"#results li:nth-child({number}) .tick input")
    assert page.find("#chosen-measure").get_attribute("disabled") is not None  # a sheet cannot be measured
    assert page.complaints() == []


def test_settings_are_compared_and_the_best_can_be_used(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    page.click("#tune-open")
    page.js("document.querySelector('#tune details').open = true")
    for recipe, has_steps in (("paint", True), ("instant", False)):
        page.click(f"#tune label:has(input[value='{recipe}'])")
        assert page.is_seen("#tune [data-field='steps']") is has_steps
    for name, value in (("size", "64"), ("strengths", "0.25, 0.75"), ("strokes", "1")):
        field = page.find(f"#tune [data-field='{name}']")
        field.clear()
        field.send_keys(value, Keys.TAB)
    page.click("#tune-start")
    page.until(lambda: page.is_seen("#result-figures table"))
    assert page.js("return document.querySelectorAll('#result-figures tbody tr').length") == 2
    before = page.js(PAINTED)
    page.click("#result-figures tr.is-best button")
    now = page.repainted(before)
    request = studio.client.get(f"/results/{now.split('/')[-2]}").json()["request"]
    assert (request["kind"], request["options"]["strength"]) == ("instant", 0.75)
    assert page.complaints() == []
    page.click("#tune-open")
    wanted = page.find("#tune [data-field='strengths']")
    wanted.clear()
    wanted.send_keys("9", Keys.TAB)
    page.click("#tune-start")
    page.until(lambda: wanted.get_attribute("aria-invalid") == "true")
    described = (wanted.get_attribute("aria-describedby") or "").split()
    assert any("from 0 to 1.5" in page.text(f"#{each}") for each in described)


def test_every_control_can_be_reached_by_keyboard(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.key(Keys.TAB)
    assert page.js("return document.activeElement.className") == "skip"
    first = page.instant(picture)  # the file chooser itself belongs to the browser
    page.tab_to(lambda: page.focused() == "split-handle")
    value = page.js("return document.activeElement.ariaValueNow")
    page.key(Keys.ARROW_RIGHT, Keys.PAGE_UP)
    assert int(page.js("return document.activeElement.ariaValueNow")) == int(value) + 12
    page.tab_to(lambda: page.focused() == "style")
    page.key(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.END, Keys.ARROW_LEFT)
    assert page.js("return document.activeElement.closest('li').dataset.style") == "wheat-field"
    assert page.js("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.key(Keys.ENTER)
    page.repainted(first)
    page.tab_to(lambda: page.focused() == "mask-toggle")
    page.key(Keys.ENTER)
    page.tab_to(lambda: page.focused() == "mask")
    before = page.js(PAINTED)
    page.key(Keys.SPACE, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.SPACE, Keys.ESCAPE)
    assert page.focused() == "mask-toggle"
    page.repainted(before)
    page.tab_to(lambda: page.focused() == "size" and bool(page.js("return document.activeElement.closest('#paint-basic')")))
    page.key(Keys.CONTROL, "a")
    ActionChains(page.driver).key_up(Keys.CONTROL).perform()
    page.key("128")
    page.tab_to(lambda: bool(page.js("return document.activeElement.closest('#paint-more details:nth-child(3) summary')")))
    page.key(Keys.ENTER)  # opens the section of the optimizer
    page.tab_to(lambda: page.focused() == "steps")
    page.key("3")
    page.tab_to(lambda: page.focused() == "paint")
    page.key(Keys.ENTER)
    page.state("done")
    page.tab_to(lambda: page.focused() == "queue-open")
    page.key(Keys.ENTER)
    assert page.js("return document.querySelector('#queue').contains(document.activeElement)")
    page.key(Keys.ESCAPE)
    assert page.focused() == "queue-open"


def test_the_gallery_shows_compares_zips_and_restores_deleted_results(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    before = len(studio.client.get("/results").json()["items"])
    first = page.instant(picture)
    page.click("#keep")
    page.until(lambda: page.is_seen(".notice"))
    page.click("[data-style='great-wave'] .style")
    page.repainted(first)
    page.click("#keep")
    page.until(lambda: len(studio.client.get("/results").json()["items"]) == before + 2)
    page.click("#to-gallery")
    page.until(lambda: page.js("return document.querySelectorAll('#results li').length") == before + 2)
    for number in (1, 2):
        page.click(f"#results li:nth-child({number}) .tick input")
    page.click("#chosen-compare")
    page.until(lambda: page.is_seen("#compare-board .split-handle"))
    page.key(Keys.ESCAPE)
    page.click("#chosen-save")
    page.click("#fetch")
    page.until(lambda: list(page.downloads.glob("*.zip")))
    page.until(lambda: not page.is_seen("#saving"))
    newest = page.js("return document.querySelector('#results li').dataset.result")
    page.click("#choose-none")
    page.click("#results li:first-child .tick input")
    page.click("#chosen-delete")
    page.until(lambda: page.js("return document.querySelector('#results li')?.dataset.result") != newest)
    page.click(".notice:last-child .plain")
    page.until(lambda: page.js("return document.querySelector('#results li').dataset.result") == newest)
    assert studio.client.get(f"/results/{newest}").status_code == 200
    page.click("#results li:first-child .result")
    page.until(lambda: page.is_seen("#result-again"))
    page.click("#result-again")
    page.until(lambda: page.js("return document.querySelector('[aria-pressed=true].style')?.parentElement.dataset.style"))
    assert page.js("return document.querySelector('[aria-pressed=true].style').parentElement.dataset.style") == "great-wave"
    assert page.complaints() == []


def test_a_reload_keeps_photo_styles_and_settings(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.instant(picture)
    page.click("[data-style='mosaic'] .style")
    page.open()
    page.until(lambda: page.is_seen("#workspace") and "/results/" in page.js(PAINTED))
    assert page.js("return document.querySelector('[aria-pressed=true].style').parentElement.dataset.style") == "mosaic"


def test_a_picture_can_be_added_as_a_style_and_marked_as_favorite(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.give(picture, "#style-file")
    own = "[data-style^='s_']"
    page.until(lambda: page.is_seen(own))
    assert page.find(f"{own} .style").get_attribute("aria-pressed") == "true"
    page.js("arguments[0].focus()", page.find(f"{own} .heart"))
    page.key(Keys.ENTER)
    page.click("#only-favorites")
    assert page.js("return document.querySelectorAll('#styles li:not([hidden])').length") == 1
    page.click("#only-favorites")
    page.find("#style-search").send_keys("munch")
    assert page.js("return [...document.querySelectorAll('#styles li:not([hidden])')].map((each) => each.dataset.style)") == [
        "the-scream"
    ]
    (style,) = [each for each in studio.client.get("/styles").json()["items"] if each["origin"] == "upload"]
    assert style["favorite"]
    studio.client.delete(f"/styles/{style['id']}")


# ---------------------------------------------------------------------------------------------------- errors


def test_an_error_is_shown_next_to_its_control(browser: Callable[..., Browser], tmp_path: Path) -> None:
    page = browser()
    text = tmp_path / "letter.jpg"
    text.write_text("this is no picture")
    page.give(text)
    page.until(lambda: page.is_seen("#photo-error"))
    assert "letter.jpg" in page.text("#photo-error")
    assert page.js("return document.querySelector('#choose-photo').getAttribute('aria-describedby')") == "photo-error"
    size = page.find("#instant-basic [data-field='size']")
    size.clear()
    size.send_keys("7", Keys.TAB)
    assert size.get_attribute("aria-invalid") == "true"
    described = (size.get_attribute("aria-describedby") or "").split()
    assert any("32" in page.text(f"#{each}") and "7" in page.text(f"#{each}") for each in described)
    size.clear()
    size.send_keys("256", Keys.TAB)
    assert size.get_attribute("aria-invalid") is None
    page.click("#paint")
    assert page.is_seen("#photo-error")
    assert page.focused() == "choose-photo"


def test_an_error_of_the_studio_is_shown_next_to_its_control(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.instant(picture)
    page.paint(betas="0.9")
    page.until(lambda: page.js("return document.querySelector('[data-field=betas]').ariaInvalid") == "true")
    control = page.find("[data-field='betas']")
    assert control.is_displayed()
    errors = " ".join(page.text(f"#{each}") for each in (control.get_attribute("aria-describedby") or "").split())
    assert "give two numbers" in errors


def test_basics_are_open_and_other_sections_closed_in_both_languages(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    summaries = "const all = [...document.querySelectorAll('#settings summary')]; "
    summaries += "return all.filter((each) => each.checkVisibility()).map((each) => each.textContent)"
    instant, paint, run = (list(tiers_of(kind))[1:] for kind in (InstantOptions, PaintOptions, Run))
    assert page.js(summaries) == [*instant, *paint, *run]
    assert page.is_seen("#paint-basic [data-field='preset']")
    assert page.is_seen("#run-basic [data-field='seed']")
    assert not page.is_seen("#paint-more [data-field='margin']")
    page.click("#paint-more details:nth-child(3) summary")
    assert page.is_seen("#paint-more [data-field='margin']")
    page.click("#method-refine")
    assert page.js(summaries) == [*instant, *run]
    assert page.is_seen("#refine-basic [data-field='hq']")
    page.js("const l = document.querySelector('#language'); l.value = 'zh'; l.dispatchEvent(new Event('change'))")
    page.until(lambda: page.js(summaries) == ["色彩", "其他选项", "设备与精度"])
    page.js("const l = document.querySelector('#language'); l.value = 'en'; l.dispatchEvent(new Event('change'))")
    page.until(lambda: page.js(summaries) == [*instant, *run])
    page.click("#method-paint")
    assert page.complaints() == []


def test_an_error_in_a_closed_section_opens_it(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.instant(picture)
    choose = "const e = document.querySelector('#paint-more [data-field=betas]'); "
    page.js(choose + "e.value = '0.9'; e.dispatchEvent(new Event('change'))")
    assert not page.is_seen("#paint-more [data-field='betas']")
    page.click("#paint")
    page.until(lambda: page.is_seen("#paint-more [data-field='betas']"))


def test_a_method_hides_ignored_settings_and_shows_its_defaults(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    page.js("for (const each of document.querySelectorAll('#paint-more details')) each.open = true")
    choose = "const e = document.querySelector(`:is(#paint-basic, #paint-more) [data-field=${arguments[0]}]`); "
    choose += "e.value = arguments[1]; e.dispatchEvent(new Event('change'))"
    steps = "return document.querySelector('#paint-more [data-field=steps]').value"
    seen = {name: f":is(#paint-basic, #paint-more) [data-field='{name}']" for name in ("style_weight", "strength", "recipe")}
    assert not page.is_seen(seen["style_weight"])
    assert page.is_seen(seen["strength"])
    assert page.js(steps) == str(RECIPES["neighbors"].steps)
    page.js(choose, "recipe", "gatys")
    assert page.is_seen(seen["style_weight"])
    assert not page.is_seen(seen["strength"])
    assert page.js(steps) == str(RECIPES["gatys"].steps)
    page.js(choose, "preset", "gatys2015")
    assert not page.is_seen(seen["recipe"])  # a preset sets its method
    assert page.js(steps) == str(PRESETS["gatys2015"].steps)
    page.paint(size="64", steps="2")
    page.state("done")
    (newest, *_) = studio.client.get("/results").json()["items"]
    request = studio.client.get(f"/results/{newest['id']}").json()["request"]
    assert request["options"] == {"preset": "gatys2015", "size": 64, "steps": 2}
    assert page.complaints() == []


def test_an_error_of_an_option_in_two_panels_is_shown_in_the_right_one(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    choose = "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))"
    method = "#instant-more [data-field='color_method']"
    page.js(choose, "#instant-basic [data-field='color']", "palette")
    page.js(choose, method, "luminance")
    page.until(lambda: page.js("return document.querySelector(arguments[0]).ariaInvalid", method) == "true")
    assert page.js("return document.querySelectorAll('[aria-invalid=true]').length") == 1
    assert page.is_seen(method)  # its section was opened
    described = page.find(method).get_attribute("aria-describedby") or ""
    assert "needs color match-style" in " ".join(page.text(f"#{each}") for each in described.split())


def test_the_error_of_a_failed_painting_is_shown_next_to_its_control(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.instant(picture)
    page.paint(size="100000")
    page.state("failed")
    size = page.find("#paint-basic [data-field='size']")
    page.until(lambda: size.get_attribute("aria-invalid") == "true")
    described = (size.get_attribute("aria-describedby") or "").split()
    assert any("would fit" in page.text(f"#{each}") for each in described)
    assert not page.js("return document.querySelector(\"#instant-basic [data-field='size']\").ariaInvalid")


def test_the_estimated_time_of_waiting_jobs_is_updated_while_another_job_runs(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path
) -> None:
    page = browser()
    page.instant(picture)
    upload = studio.upload()
    endless = {"size": 64, "smallest_size": 64, "steps": 1_000_000}
    jobs = [studio.submit("paint", upload, ["starry-night"], **endless)["id"] for _ in range(3)]
    studio.wait_until(jobs[0], "running")
    page.click("#queue-open")
    last = f"[data-job='{jobs[2]}'] .job-line"
    page.until(lambda: "Waiting for 1 job" in page.text(last))
    studio.client.post(f"/jobs/{jobs[1]}/cancel")
    page.until(lambda: "Next in the queue" in page.text(last), seconds=30)
    page.until(lambda: "hour" in page.text(last), seconds=60)  # the steps of the running job give its remaining time
    for job in jobs:
        studio.client.post(f"/jobs/{job}/cancel")


def test_a_malicious_name_is_shown_as_text(browser: Callable[..., Browser], studio: pieces.Program) -> None:
    name = "<img src=x onerror=window.hurt=1><b>"
    upload = studio.upload(name="x.jpg")
    style = studio.client.post("/styles", json={"upload": upload, "title": name}).json()
    page = browser()
    page.until(lambda: name in page.text(f"[data-style='{style['id']}'] .style-name"))
    page.click(f"[data-style='{style['id']}'] .style")
    assert name in page.text("#chosen")
    assert page.js("return window.hurt === undefined && !document.querySelector('#shelf b, #shelf img[src=x]')")
    studio.client.delete(f"/styles/{style['id']}")
