"""The example of a Space."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch

from impasto.images import encode, read
from impasto.networks.brush_files import save_brush
from impasto.networks.johnson import Johnson, Layout

testclient = pytest.importorskip("fastapi.testclient")
FOLDER = Path(__file__).resolve().parents[2] / "integrations" / "space"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(4, blocks=1, ends=5)), {"name": "tiny"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRUSHES", "tiny.brush")
    spec = importlib.util.spec_from_file_location("impasto_space", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MOST_BYTES", 300_000)
    return testclient.TestClient(module.app)


def photo() -> bytes:
    return encode("photo.png", read(skimage.data.astronaut()[::4, ::3]))


def test_the_page_offers_the_brushes(client: Any) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "<option>tiny.brush</option>" in page.text


def test_a_photo_is_painted(client: Any) -> None:
    answer = client.post("/paint", params={"brush": "tiny.brush"}, content=photo())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    painted, given = read(answer.content).image, read(photo()).image
    assert painted.shape == given.shape
    assert (painted - given).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("brush", "content", "status", "message"),
    [
        ("other", b"", 404, "brush 'other' is not known"),
        ("../tiny.brush", b"", 404, "is not known"),
        ("tiny.brush", b"no picture", 422, "picture"),
        ("tiny.brush", b"", 422, ""),
        ("tiny.brush", bytes(300_001), 413, "larger than"),
    ],
)
def test_bad_input_is_reported_in_one_sentence(client: Any, brush: str, content: bytes, status: int, message: str) -> None:
    answer = client.post("/paint", params={"brush": brush}, content=content)
    assert answer.status_code == status
    assert message in answer.json()["detail"]
