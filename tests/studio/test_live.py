"""The webcam page: its routes, its runtime, and the page in a browser."""

import base64
import hashlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI

import studio_pieces as pieces
from impasto import images
from impasto.cli import main
from impasto.errors import WeightsError
from impasto.images import resize
from impasto.networks.johnson import LAYOUTS, Johnson
from impasto.studio import live_brushes, runtime
from impasto.studio.app import STATIC, create_app
from impasto.studio.settings import Settings
from impasto.tensors import Image
from impasto.weights.files import sha256_of

API = "/api/v1"
BRUSH, OTHER = "starry-night", "my-garden"
RUNTIME = runtime.runtime_folder()
"""The user's runtime folder; tests use another one."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[pieces.Local]:
    app: FastAPI = create_app(Settings(data=tmp_path / "data"))
    yield pieces.Local(app)
    app.state.studio.database.close()


def package(path: Path, monkeypatch: pytest.MonkeyPatch, *, but: str = "") -> Path:
    """Write a package like that of npm, and set the expected hash to its hash."""
    with tarfile.open(path, "w:gz") as archive:
        for name in (*runtime.FILES, "ort.all.min.mjs", "../../evil.mjs"):
            if name != but:
                member = tarfile.TarInfo(f"package/dist/{name}")
                data = f"// {name}".encode()
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    return path


def leftovers() -> list[str]:
    folder = runtime.runtime_folder().parent
    return [each.name for each in folder.iterdir()] if folder.exists() else []


# ---------------------------------------------------------------------------------------------------- the runtime


def test_the_runtime_is_installed_from_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not runtime.runtime_is_here()
    folder = runtime.fetch_runtime(package(tmp_path / "a.tgz", monkeypatch))
    assert runtime.runtime_is_here()
    assert sorted(each.name for each in folder.iterdir()) == sorted(runtime.FILES)
    assert leftovers() == [folder.name]
    monkeypatch.setenv("PATH", "")
    assert runtime.fetch_runtime() == folder  # not downloaded again


def test_a_package_with_another_hash_is_refused_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = package(tmp_path / "a.tgz", monkeypatch)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(WeightsError, match=r"'a\.tgz' is not the published onnxruntime-web-.*\.tgz.*--from FILE"):
        runtime.fetch_runtime(path)
    assert leftovers() == []
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        runtime.fetch_runtime(tmp_path / "missing.tgz")


def test_a_package_with_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=f"has no {runtime.FILES[2]}"):
        runtime.fetch_runtime(package(tmp_path / "a.tgz", monkeypatch, but=runtime.FILES[2]))
    assert leftovers() == []


def test_npm_is_used_if_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = package(tmp_path / "a.tgz", monkeypatch)
    npm = tmp_path / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n/bin/cp {made} onnxruntime-web-{runtime.VERSION}.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    runtime.fetch_runtime()
    assert (tmp_path / "asked").read_text().startswith(f"pack onnxruntime-web@{runtime.VERSION} --ignore-scripts")
    assert runtime.runtime_is_here()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"IMPASTO_OFFLINE": "1"}, "impasto is offline; download onnxruntime-web"),
        ({"IMPASTO_NPM_REGISTRY": "http://127.0.0.1:9/"}, "could not be downloaded .*refused"),
        ({"IMPASTO_NPM_REGISTRY": "file:///etc/"}, "give an address that starts with https://"),
    ],
)
def test_without_a_network_the_message_describes_the_manual_installation(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["studio", "--fetch-live"]) == 2
    assert re.search(expected, capsys.readouterr().err)
    assert leftovers() == []


def test_from_needs_fetch_live(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", "--from", "a.tgz"]) == 2
    assert "--from a.tgz needs --fetch-live" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- routes


def test_the_live_route_describes_the_runtime(client: pieces.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = client.get(f"{API}/live").json()
    address = f"/live/runtime/{runtime.VERSION}/"
    assert facts["runtime"] == {
        "version": runtime.VERSION,
        "here": False,
        "bytes": runtime.FETCHED_BYTES,
        "address": address,
    }
    file = facts["runtime"]["address"] + runtime.FILES[0]
    assert client.get(file).status_code == 404
    runtime.fetch_runtime(package(tmp_path / "a.tgz", monkeypatch))
    assert client.get(f"{API}/live").json()["runtime"]["here"] is True
    answer = client.get(file)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/javascript")
    assert client.get(facts["runtime"]["address"] + runtime.FILES[2]).headers["content-type"] == "application/wasm"
    for other in ("x.mjs", "..%2fstudio.db", "%2e%2e"):
        assert client.get(facts["runtime"]["address"] + other).status_code in (404, 405)


def test_the_runtime_route_downloads_the_runtime(client: pieces.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_OFFLINE", "1")
    answer = client.post(f"{API}/live/runtime")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "network")
    assert "--fetch-live --from FILE" in answer.json()["error"]["message"]
    made = package(tmp_path / "a.tgz", monkeypatch)
    monkeypatch.delenv("IMPASTO_OFFLINE")
    monkeypatch.setattr(runtime, "_fetched", lambda folder: made)
    assert client.post(f"{API}/live/runtime").json()["runtime"]["here"] is True


def test_only_the_live_page_may_compile_webassembly(client: pieces.Local) -> None:
    for path in ("/live", "/static/live-worker.js", f"/live/runtime/{runtime.VERSION}/{runtime.FILES[0]}"):
        assert "script-src 'self' 'wasm-unsafe-eval';" in client.get(path).headers["content-security-policy"]
    for path in ("/", "/static/main.js", f"{API}/live"):
        assert "unsafe" not in client.get(path).headers["content-security-policy"]
    live = client.get("/live")
    assert (live.status_code, live.headers["cross-origin-embedder-policy"]) == (200, "require-corp")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Folders for the graphs of the package and of the user."""
    shipped, own = tmp_path / "shipped", live_brushes.own_folder()
    monkeypatch.setattr(live_brushes, "SHIPPED", shipped)
    for folder in (shipped, own):
        folder.mkdir(parents=True)
    return shipped, own


def brushes(client: pieces.Local) -> dict[str, dict[str, Any]]:
    answer = client.get(f"{API}/live/brushes")
    assert answer.status_code == 200
    return {each["id"]: each for each in answer.json()["items"]}


@pytest.mark.slow
def test_a_brush_has_the_title_and_the_preview_of_the_style_with_its_name(
    client: pieces.Local, folders: tuple[Path, Path]
) -> None:
    (folders[0] / f"{BRUSH}.onnx").write_bytes(b"one")
    (folders[1] / f"{OTHER}.onnx").write_bytes(b"two")
    found = brushes(client)
    assert list(found) == [OTHER, BRUSH]
    assert {key: found[BRUSH][key] for key in ("title", "artist", "origin", "preview")} == {
        "title": "The Starry Night",
        "artist": "Vincent van Gogh",
        "origin": "shipped",
        "preview": f"{API}/styles/{BRUSH}/preview",
    }
    assert (found[OTHER]["title"], found[OTHER]["origin"], found[OTHER]["preview"]) == (OTHER, "own", None)
    for name, content in ((BRUSH, b"one"), (OTHER, b"two")):
        answer = client.get(found[name]["network"])
        assert (answer.content, answer.headers["content-type"]) == (content, "application/octet-stream")


@pytest.mark.slow
def test_a_graph_of_the_user_replaces_an_included_one_and_a_changed_graph_has_a_new_address(
    client: pieces.Local, folders: tuple[Path, Path]
) -> None:
    addresses = set()
    for folder, content in ((folders[0], b"one"), (folders[1], b"two"), (folders[1], b"three")):
        (folder / f"{BRUSH}.onnx").write_bytes(content)
        brush = brushes(client)[BRUSH]
        addresses.add(brush["network"])
        assert client.get(brush["network"]).content == content
    assert brush["origin"] == "own"
    assert len(addresses) == 3


def test_a_graph_next_to_a_trained_brush_is_listed_with_its_title(client: pieces.Local, folders: tuple[Path, Path]) -> None:
    studio = client.app.state.studio
    for name, suffixes in (("r_0000000000000001", (".brush", ".onnx")), ("r_0000000000000002", (".brush",))):
        row = dict.fromkeys(("job", "created", "width", "height", "bytes", "disk", "draft", "seconds"), 1)
        row |= {"id": name, "job": f"j{name[1:]}", "kind": "brush", "suffix": ".png", "title": "My garden"}
        studio.database.insert("results", row | {"styles": "[]", "request": "{}", "record": "{}"})
        for suffix in suffixes:
            studio.folder.result(name, suffix).write_bytes(name.encode())
    ((name, brush),) = brushes(client).items()
    assert (name, brush["title"], brush["origin"]) == ("r_0000000000000001", "My garden", "own")
    assert brush["preview"] == f"{API}/results/{name}/thumb"
    assert client.get(brush["network"]).content == name.encode()
    assert client.get("/live/brushes/r_0000000000000002.onnx").status_code == 404


def test_every_included_graph_is_that_of_the_brush_next_to_it() -> None:
    onnx = pytest.importorskip("onnx")
    for path in live_brushes.SHIPPED.glob("*.onnx"):
        facts = {each.key: each.value for each in onnx.load(path).metadata_props}
        write = f"impasto export onnx {path} --brush {path.with_suffix('.brush')}"
        assert facts["brush_sha256"] == sha256_of(path.with_suffix(".brush")), f"write it again: {write}"


def test_only_graphs_with_plain_names_are_listed(client: pieces.Local, folders: tuple[Path, Path]) -> None:
    for name in ("Upper.onnx", "a b.onnx", "notes.txt", "..onnx"):
        (folders[0] / name).write_bytes(b"x")
    (folders[0] / "folder.onnx").mkdir()
    assert brushes(client) == {}
    for name in ("none-such", "Upper", "..%2fa", "folder"):
        answer = client.get(f"/live/brushes/{name}.onnx")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"]


def test_brushes_are_listed_without_torch_and_onnx() -> None:
    script = "import sys, impasto.studio.live_brushes as brushes\nbrushes.shown_brushes([], None, [])\n"
    script += "sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_text_of_the_webcam_page_exists_in_every_language() -> None:
    catalogues = [json.loads((STATIC / "texts" / f"live.{code}.json").read_text("utf-8")) for code in pieces.LANGUAGES]
    page, script = ((STATIC / name).read_text("utf-8") for name in ("live.html", "live.js"))
    used = set(re.findall(r'data-t[a-z-]*="(live\.[a-z_]+)"', page)) | set(re.findall(r"'(live\.[a-z_]+)'", script))
    used |= {f"live.error_{each}" for each in re.findall(r"'(\w+)'", script.split("const known = [")[1].split("]")[0])}
    used = (used - {"live.threads"}) | {"live.threads.one", "live.threads.other", "live.error_other"}
    for catalogue in catalogues:
        assert set(catalogue) == used
        assert all(catalogue.values())
    for key in used:
        assert len({tuple(sorted(re.findall(r"\{\w+\}", each[key]))) for each in catalogues}) == 1


# ---------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def bench() -> Any:
    """The benchmark module, which can start a studio and a browser."""
    pytest.importorskip("selenium")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("wants Debian's chromium and chromium-driver")
    if not all((RUNTIME / name).is_file() for name in runtime.FILES):
        pytest.skip("wants the runtime: impasto studio --fetch-live")
    path = Path(__file__).parents[2] / "benchmarks" / "live.py"
    spec = importlib.util.spec_from_file_location("live_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PAINT = """
const [runtime, networks, pixels, width, height, strength, done] = arguments;
const worker = new Worker('/static/live-worker.js', { type: 'module' });
const found = [];
worker.onmessage = ({ data }) => {
  if (data.say === 'failed') done(data.message);
  if (data.say === 'picture') found.push(Array.from(new Uint8ClampedArray(data.pixels)));
  if (found.length === networks.length) done(found);
};
networks.forEach((network, at) => {
  worker.postMessage(at ? { do: 'brush', network } : { do: 'open', runtime, network, engine: 'wasm', threads: 2 });
  worker.postMessage({ do: 'frame', pixels: new Uint8ClampedArray(pixels).buffer, width, height, strength });
});
"""
_STEADY = """
const [frames, done] = arguments;
import('/static/live-steady.js').then(({ steady }) => {
  const screen = Float32Array.from(frames[0]);
  done(frames.slice(1).map((frame) => (steady(screen, frame), Array.from(screen))));
});
"""


def portrait(height: int, width: int) -> Image:
    import skimage.data

    whole = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return (resize(whole, (height, width)).clamp(0, 1) * 255).round() / 255


def pixels_of(image: Image) -> list[int]:
    opaque = torch.cat([image[0] * 255, torch.full((1, *image.shape[-2:]), 255.0)])
    return opaque.permute(1, 2, 0).flatten().round().int().tolist()  # type: ignore[no-any-return]


@pytest.fixture
def networks() -> dict[str, Johnson]:
    """Two brushes with random weights, whose graphs are the user's own."""
    pytest.importorskip("onnx")
    from impasto.networks.brush_onnx import brush_graph
    from impasto.networks.onnx_graph import save_graph

    live_brushes.own_folder().mkdir(parents=True)
    found = {}
    for seed, name in enumerate((OTHER, BRUSH)):
        torch.manual_seed(seed)  # noqa: TID251  (initialization has no generator)
        found[name] = Johnson(LAYOUTS["small"]).half().float().requires_grad_(False)
        save_graph(live_brushes.own_folder() / f"{name}.onnx", brush_graph(found[name]))
    return found


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_paints_like_torch_and_makes_no_other_requests(
    bench: Any, networks: dict[str, Johnson], tmp_path: Path
) -> None:
    runtime.runtime_folder().parent.mkdir(parents=True)
    runtime.runtime_folder().symlink_to(RUNTIME)
    with bench.studio() as address, bench.browser() as driver:
        driver.set_script_timeout(120)
        driver.get(f"{address}/live?engine=wasm")
        read = driver.execute_script

        def until(script: str) -> Any:
            return bench.WebDriverWait(driver, 120).until(lambda _: read(f"return {script}"))

        until("document.body.dataset.ready")
        for strength in (1, 0.25):  # two brushes one after another, on a picture whose sides need padding
            photo = portrait(61, 50)
            addresses = [f"/live/brushes/{name}.onnx" for name in networks]
            where = f"/live/runtime/{runtime.VERSION}/"
            found = driver.execute_async_script(_PAINT, where, addresses, pixels_of(photo), 50, 61, strength)
            assert isinstance(found, list), found
            for network, shown in zip(networks.values(), found, strict=True):
                painted = torch.lerp(photo, network(photo).clamp(0, 1), strength)
                seen = torch.tensor(shown).view(61, 50, 4)[..., :3].permute(2, 0, 1)[None] / 255
                assert (painted - photo).abs().mean() > 0.02
                assert (seen - painted).abs().max() <= 1.01 / 255

        read("document.getElementById('start').click()")
        until("Number(document.body.dataset.frames ?? 0) >= 5")
        assert read("return document.body.dataset.brush") == BRUSH  # chosen at first
        read(f"document.querySelector('[data-brush={OTHER}]').click()")
        until(f"document.body.dataset.brush === '{OTHER}'")
        if read("return !document.getElementById('record').disabled"):
            read("document.getElementById('record').click()")
            until("document.getElementById('record').ariaPressed === 'true'")
            read("document.getElementById('record').click()")
            until("document.getElementById('spoken').textContent.includes('video')")

        file = tmp_path / "photo.png"
        file.write_bytes(pieces.photo((96, 64), "PNG"))
        driver.find_element("id", "photo-file").send_keys(str(file))
        until("document.getElementById('picture').height === 172")  # 64 / 96 of 256, rounded to a multiple of 4
        until("document.getElementById('figures').textContent.startsWith('Painted')")
        unmirrored = "document.getElementById('picture').getContext('2d').getImageData(0, 0, 256, 172).data"
        seen = torch.tensor(read(f"return Array.from({unmirrored})")).view(172, 256, 4)[..., :3].float()
        wanted = networks[OTHER](resize(images.read(file).image, (172, 256))).clamp(0, 1)[0].permute(1, 2, 0) * 255
        assert torch.corrcoef(torch.stack([seen.flatten(), wanted.flatten()]))[0, 1] > 0.9
        driver.find_element("id", "photo-file").send_keys(str(Path(__file__)))
        until("!document.getElementById('error').hidden")
        assert "not a picture" in driver.find_element("id", "error").text

        fetched = read("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert fetched
        assert all(each.startswith((address + "/", "blob:" + address + "/")) for each in fetched)
        driver.refresh()
        until("document.body.dataset.ready")
        assert read(f"return document.querySelector('[data-brush={OTHER}]').ariaPressed") == "true"  # the choice is kept

        still, noisy, moved = ([value] * 4 for value in (100, 104, 200))
        found = driver.execute_async_script(_STEADY, [still, noisy, still, moved])
        assert [round(each[0], 1) for each in found] == [101.5, 101.1, 200]  # 38 % of the difference, 30 %, all


_NO_BRUSHES = """
const answered = window.fetch;
window.fetch = async (address, ...more) => {
  const answer = await answered(address, ...more);
  if (!String(address.url ?? address).endsWith('/live/brushes')) return answer;
  return new Response(JSON.stringify({ ...(await answer.json()), items: [] }), { headers: answer.headers });
};
"""


@pytest.mark.browser
@pytest.mark.slow
def test_without_brushes_the_page_says_so(bench: Any) -> None:
    with bench.studio() as address, bench.browser() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _NO_BRUSHES})
        driver.get(f"{address}/live")
        note = driver.find_element("id", "no-brushes")
        bench.WebDriverWait(driver, 60).until(lambda _: note.is_displayed())
        assert "no brushes" in note.text
        assert not driver.find_element("id", "start").is_enabled()
