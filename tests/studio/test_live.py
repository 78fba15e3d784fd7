"""The webcam page: its routes, its runtime, and the page in a browser."""

import base64
import hashlib
import importlib.util
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI

import studio_pieces as pieces
from impasto.cli import main
from impasto.color.transfer import monge_kantorovich, recolored
from impasto.errors import WeightsError
from impasto.features.statistics import Moments
from impasto.images import resize
from impasto.networks import load_instant, shipped_instant
from impasto.recipes.live_style import live_style
from impasto.studio import orders, runtime
from impasto.studio.app import STATIC, create_app
from impasto.studio.settings import Settings
from impasto.styles.named import known_styles, load_style
from impasto.tensors import Image

API = "/api/v1"
STYLE = "starry-night"
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


def test_the_live_route_describes_runtime_and_network(
    client: pieces.Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert client.get(facts["network"]["address"]).content == shipped_instant().with_name("live.onnx").read_bytes()
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


@pytest.mark.parametrize(
    ("path", "status"), [(f"/live/styles/{STYLE}?edge=63", 422), ("/live/styles/none-such", 404), ("/live/styles/A", 404)]
)
def test_an_unknown_style_is_refused_in_one_sentence(client: pieces.Local, path: str, status: int) -> None:
    answer = client.get(API + path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_style_code_depends_on_the_size_of_the_picture() -> None:
    source = {"path": str(known_styles()[STYLE]), "name": STYLE, "kind": "named"}
    found = orders.style_code({"style": source, "edge": 192}, None)  # type: ignore[arg-type]
    wanted, larger = (live_style(load_style(source["path"]), edge_px=edge_px) for edge_px in (192, 512))
    assert torch.allclose(torch.tensor(found["modulation"]), wanted.modulation[0], atol=1e-5)
    assert not torch.allclose(wanted.modulation, larger.modulation, atol=1e-2)
    assert torch.allclose(torch.tensor(found["covariance"]), wanted.colors.covariance[0], atol=1e-6)


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
const [facts, style, pixels, size, map, strength, done] = arguments;
const worker = new Worker('/static/live-worker.js', { type: 'module' });
worker.onmessage = ({ data }) => {
  if (data.say === 'failed') done(data.message);
  if (data.say === 'picture') done(Array.from(new Uint8ClampedArray(data.pixels)));
  if (data.say !== 'ready') return;
  worker.postMessage({ do: 'style', modulation: style.modulation });
  worker.postMessage({ do: 'frame', pixels: new Uint8ClampedArray(pixels).buffer, width: size, height: size, map, strength });
};
const { runtime, network } = facts;
worker.postMessage({ do: 'open', runtime: runtime.address, network: network.address, engine: 'wasm', threads: 2 });
"""
_PALETTE = """
const [source, target, done] = arguments;
import('/static/live-palette.js').then(({ palette }) => done(palette(source, target)));
"""


def square(edge_px: int) -> Image:
    import skimage.data

    whole = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return (resize(whole, (edge_px, edge_px)).clamp(0, 1) * 255).round() / 255


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_paints_like_torch_and_makes_no_other_requests(bench: Any) -> None:
    runtime.runtime_folder().parent.mkdir(parents=True)
    runtime.runtime_folder().symlink_to(RUNTIME)
    with bench.studio() as address, bench.browser() as driver:
        driver.set_script_timeout(120)
        driver.get(f"{address}/live?engine=wasm")
        read = driver.execute_script
        bench.WebDriverWait(driver, 120).until(lambda d: read("return document.body.dataset.style"))
        style = read(f"return fetch('{API}/live/styles/{STYLE}?edge=64').then((answer) => answer.json())")
        facts = read(f"return fetch('{API}/live').then((answer) => answer.json())")

        photo = square(64)
        source = moments(photo)
        target = Moments(torch.tensor([style["mean"]]).double(), torch.tensor([style["covariance"]]).double())
        wanted = monge_kantorovich(source, target)
        flat = [
            {"mean": each.mean[0].tolist(), "covariance": each.covariance[0].flatten().tolist()} for each in (source, target)
        ]
        palette = driver.execute_async_script(_PALETTE, *flat)
        assert torch.allclose(torch.tensor(palette["matrix"]).view(3, 3).double(), wanted.matrix[0], atol=1e-5)
        assert torch.allclose(torch.tensor(palette["bias"]).double(), wanted.bias[0], atol=1e-5)

        opaque = torch.cat([photo[0] * 255, torch.full((1, 64, 64), 255.0)]).permute(1, 2, 0)
        pixels = opaque.flatten().int().tolist()
        found = driver.execute_async_script(_PAINT, facts, style, pixels, 64, palette, 1)
        assert isinstance(found, list), found
        recolored_photo = recolored(photo, type(wanted)(wanted.matrix.float(), wanted.bias.float()))
        painted = load_instant(shipped_instant())(recolored_photo, torch.tensor([style["modulation"]])).clamp(0, 1)
        shown = torch.tensor(found).view(64, 64, 4)[..., :3].permute(2, 0, 1)[None] / 255
        assert (painted - photo).abs().mean() > 0.05
        assert (shown - painted).abs().max() <= 1.01 / 255

        read("document.getElementById('start').click()")
        bench.WebDriverWait(driver, 60).until(lambda d: int(read("return document.body.dataset.frames ?? '0'")) >= 5)
        read("document.getElementById('pause').click()")
        assert read("return document.getElementById('error').hidden")
        seen = read("return Array.from(document.getElementById('picture').getContext('2d').getImageData(0, 0, 256, 256).data)")
        assert torch.tensor(seen).float().std() > 10
        fetched = read("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert fetched
        assert all(each.startswith(address + "/") for each in fetched)


def moments(photo: Image) -> Moments:
    """Measure colors in double precision, as the page does."""
    rows = photo.double().flatten(2)[0]
    mean = rows.mean(1, keepdim=True)
    return Moments(mean.T, ((rows - mean) @ (rows - mean).T / rows.shape[1])[None])
