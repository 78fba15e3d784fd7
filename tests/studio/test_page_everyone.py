"""The studio's page: phones, accessibility (axe), languages, and attacks from other origins."""

import functools
import http.server
import importlib.resources
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver import Keys

import studio_pieces as pieces
from studio_browser import IN_A_BROWSER, Browser, open_browser, running_studio, small_picture

FIXTURES = (open_browser, running_studio, small_picture)
pytestmark = IN_A_BROWSER


def test_a_phone_shows_one_column_with_large_enough_buttons(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser(phone=True)
    for when in ("empty", "painted"):
        if when == "painted":
            page.instant(picture)
        assert page.js("return document.documentElement.scrollWidth") <= 390, when
        box = page.js("return document.querySelector('#paint').getBoundingClientRect().toJSON()")
        if when == "painted":
            assert box["bottom"] <= 844
        small = page.js(
            """return [...document.querySelectorAll('button, select, input:not([type=range], [type=file]), a, summary')]
            .filter((each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
            .filter((each) => !each.closest('.skip, .control-head'))
            .map((each) => [each.id || each.className, (each.closest('label') ?? each).getBoundingClientRect()])
            .filter(([, box]) => box.height && (box.height < 43.5 || box.width < 40)).map(([name]) => name)"""
        )
        assert small == [], when


@pytest.fixture
def axe() -> str:
    """The script axe.min.js of axe-core."""
    package = importlib.resources.files(pytest.importorskip("axe_core_python"))
    return package.joinpath("axe.min.js").read_text(encoding="utf-8") + ";"


def serious(page: Browser, axe: str) -> list[str]:
    """Return the serious and critical findings of axe on the current page."""
    result = page.driver.execute_async_script(axe + "axe.run(document).then(arguments[arguments.length - 1])")
    found = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['target']} {node['any'][:1]}" for each in found for node in each["nodes"]]


def test_no_panel_overflows(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.instant(picture)
    page.js("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.js("const e = document.querySelector('#settings'); return e.scrollWidth - e.clientWidth") <= 0
    page.click("#mask-toggle")
    assert page.js("return document.querySelector('#board').clientHeight") >= 350  # enough room to draw
    narrow = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    for language in pieces.LANGUAGES:
        page.js(
            "const e = document.querySelector('#language'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))",
            language,
        )
        page.until(lambda language=language: page.js("return document.documentElement.lang").startswith(language))
        assert page.js("return document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_problem_on_the_webcam_page(browser: Callable[..., Browser], axe: str, dark: bool) -> None:
    page = browser(dark=dark)
    for phone in (False, True):
        if phone:
            size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.driver.get(page.home + "live")
        page.until(lambda: page.js("return document.querySelectorAll('#brushes li').length") > 0)
        assert serious(page, axe) == [], phone
    for selector in ("#before", "#error"):  # shown after the start, and after an error
        page.js("const e = document.querySelector(arguments[0]); e.hidden = !e.hidden; e.textContent ||= 'words'", selector)
    page.js("for (const each of document.querySelectorAll('button, #cameras')) { each.disabled = false; each.hidden = false }")
    assert serious(page, axe) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_problem(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path, axe: str, dark: bool
) -> None:
    studio.submit("instant", studio.upload(), ["starry-night"], size=64)
    page = browser(dark=dark)

    def found() -> list[str]:
        return serious(page, axe)

    assert found() == []
    page.instant(picture)
    page.js("for (const each of document.querySelectorAll('details')) each.open = true")
    page.click("#mix")
    page.click("[data-style='the-scream'] .style")
    page.click("#mask-toggle")
    assert found() == []
    page.click("#mask-done")
    page.paint(size="64", steps="2")
    page.state("done")
    assert found() == []
    for opener, dialog in (("#queue-open", "#queue"), ("#download", "#saving"), ("#tune-open", "#tune")):
        page.click(opener)
        assert page.is_seen(dialog)
        assert found() == []
        page.key(Keys.ESCAPE)
    page.click("#to-doodle")
    page.until(lambda: page.js("return document.querySelectorAll('#doodle-colors input').length"))
    assert found() == []
    page.click("#to-video")
    page.until(lambda: page.is_seen("#video-brushes li"))
    assert found() == []
    page.click("#to-gallery")
    page.click("#results li:first-child .tick input")
    assert found() == []
    page.click("#results li:first-child .result")
    page.until(lambda: page.is_seen("#result"))
    assert found() == []
    page.click("#result-measure")
    page.until(lambda: page.is_seen("#result-figures table"))
    assert found() == []


def test_the_page_uses_the_language_of_the_browser_and_can_be_switched(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser(language="zh-CN,zh")
    assert page.js("return document.documentElement.lang") == "zh-Hans"
    assert page.text("#paint") == "作画"
    page.instant(picture)
    page.js("for (const each of document.querySelectorAll('details')) each.open = true")
    latin = page.js(
        """const found = [];
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
          const at = walk.currentNode.parentElement;
          const names = '[lang=en], [translate=no], .styles, .chosen, option, .segments, #photo-name, .help, summary ~ *';
          if (at.closest(names)) continue;
          const words = walk.currentNode.data.replace(/impasto|face\\.jpg/g, '');
          if (/[A-Za-z]{3}/.test(words) && at.checkVisibility()) found.push(walk.currentNode.data.trim());
        }
        return found"""
    )
    assert latin == []
    page.js("const l = document.querySelector('#language'); l.value = 'en'; l.dispatchEvent(new Event('change'))")
    page.until(lambda: page.text("#paint") == "Paint")
    page.open()
    assert page.js("return document.documentElement.lang") == "en"
    assert page.text("#paint") == "Paint"
    assert page.complaints() == []


# ---------------------------------------------------------------------------------------------------- other origins


def test_the_page_makes_few_requests_and_none_to_other_servers(browser: Callable[..., Browser], picture: Path) -> None:
    page = browser()
    page.until(lambda: page.js("return [...document.querySelectorAll('#styles img')].some((each) => each.src)"))
    page.until(lambda: page.js("return [...document.querySelectorAll('#styles img')].every((each) => each.complete)"))
    log = page.requests()
    of = {each["params"]["requestId"]: each["params"]["request"]["url"] for each in log if "request" in each["params"]}
    ended = [each["params"] for each in log if each["method"] == "Network.loadingFinished"]
    # Without photos of earlier visits, as at the first visit.
    loaded = sum(each["encodedDataLength"] for each in ended if "/uploads" not in of.get(each["requestId"], ""))
    assert 50_000 < loaded <= 300_000, sorted((each["encodedDataLength"], of.get(each["requestId"])) for each in ended)[-9:]
    page.instant(picture)
    page.click("#to-gallery")
    log += page.requests()
    asked = [each["params"]["request"]["url"] for each in log if each["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 20
    assert [each for each in asked if not each.startswith((page.home, "blob:", "data:"))] == []


ATTACK = """<!doctype html><title>waiting</title><body><script>
const home = 'HOME', done = [];
const plain = (path, method, body) => fetch(home + path, { method, body, mode: 'no-cors', credentials: 'include' });
const tries = {
  upload: plain('api/v1/uploads?name=attack.jpg', 'POST', new Blob(['x'], { type: 'text/plain' })),
  job: plain('api/v1/jobs', 'POST', '{"kind": "instant"}'),
  cancel: plain('api/v1/jobs/JOB/cancel', 'POST', ''),
  delete: fetch(home + 'api/v1/results/RESULT', { method: 'DELETE' }),
  read: fetch(home + 'api/v1/uploads').then((answer) => answer.text()),
  status: fetch(home + 'api/v1/status').then((answer) => answer.text()),
  picture: new Promise((yes, no) => { const i = new Image(); i.onload = yes; i.onerror = no; i.src = home + 'IMAGE'; }),
};
const frame = document.createElement('iframe'); frame.src = home; document.body.append(frame);
const form = document.createElement('form'); form.method = 'post'; form.target = 'sink';
form.action = home + 'api/v1/uploads?name=form.jpg'; form.enctype = 'text/plain';
const sink = document.createElement('iframe'); sink.name = 'sink'; document.body.append(sink, form); form.submit();
Promise.allSettled(Object.values(tries)).then(async (all) => {
  Object.keys(tries).forEach((name, index) => done.push([name, all[index].status, all[index].value?.type ?? '']));
  await new Promise((go) => setTimeout(go, 1500));
  window.outcome = done;
  document.title = 'done';
});
</script>"""


def test_attacks_from_another_origin_fail(
    browser: Callable[..., Browser], studio: pieces.Program, picture: Path, tmp_path: Path
) -> None:
    page = browser()
    painted = page.instant(picture)
    result = painted.split("/")[-2]
    before = {what: studio.client.get(f"/{what}?limit=200").json()["items"] for what in ("uploads", "jobs", "results")}
    attack = ATTACK.replace("HOME", page.home).replace("RESULT", result).replace("JOB", before["jobs"][0]["id"])
    (tmp_path / "index.html").write_text(attack.replace("IMAGE", f"api/v1/results/{result}/image"))
    server_class = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), server_class) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.driver.get(f"http://127.0.0.1:{server.server_port}/")
        page.until(lambda: page.driver.title == "done")
        outcome = {name: (status, kind) for name, status, kind in page.js("return window.outcome")}
        server.shutdown()
    assert [outcome[name][0] for name in ("delete", "read", "status", "picture")] == ["rejected"] * 4
    assert all(outcome[name] in (("fulfilled", "opaque"), ("rejected", "")) for name in ("upload", "job", "cancel"))
    after = {what: studio.client.get(f"/{what}?limit=200").json()["items"] for what in ("uploads", "jobs", "results")}
    assert [each["id"] for each in after["uploads"]] == [each["id"] for each in before["uploads"]]
    assert [(each["id"], each["state"]) for each in after["jobs"]] == [(each["id"], each["state"]) for each in before["jobs"]]
    assert studio.client.get(f"/results/{result}").status_code == 200


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass
