"""The instant painter for one style as an ONNX graph, compared with PyTorch in ONNX Runtime."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from impasto import images
from impasto.cli import main
from impasto.errors import StyleFileError, WeightsError
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.options import Run
from impasto.recipes import instant_onnx
from impasto.recipes.instant_onnx import Difference, InstantGraph, instant_graph, save_instant_graph
from impasto.recipes.instant_painter import InstantPainter
from impasto.styles.named import find_style

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

PAINTER = InstantPainter(Run(precision="fp32", device="cpu"), engine="torch")
STYLE = images.read(skimage.data.coffee()[::4, ::4].copy())
PHOTO = images.read(skimage.data.astronaut()[::4, ::4].copy()).image
SIZE_PX = 96
VISIBLE = 2 / 255


def graph(**changes: Any) -> tuple[Any, Any]:
    """Return a session with the graph of a style, and the code of the style."""
    given = InstantGraph(**{"style": STYLE, "size_px": SIZE_PX, **changes})
    code = PAINTER.encode(given.style, stroke=given.stroke)
    data = instant_graph(given, PAINTER, code).SerializeToString()
    return load_onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"]), code


def painted(session: Any, photo: Tensor) -> Tensor:
    (found,) = session.run(None, {"photo": photo.numpy()})
    return torch.from_numpy(found)


def resized(height: int, width: int) -> Tensor:
    return images.resize(PHOTO, (height, width))


@pytest.mark.slow
@pytest.mark.parametrize("stroke", [1.0, 0.7])
def test_a_graph_paints_like_torch_at_odd_sizes(stroke: float) -> None:
    session, code = graph(stroke=stroke)
    flat = torch.full((1, 3, 40, SIZE_PX), 0.5)
    for photo in (resized(SIZE_PX, 61), resized(33, SIZE_PX), resized(SIZE_PX, SIZE_PX), flat):
        found, wanted = painted(session, photo), PAINTER.paint(photo, code, fast=True)
        differs = (found - wanted).abs().amax(1) > VISIBLE
        assert differs.float().mean() < 0.02  # where similarities are nearly equal
        assert (found - wanted).abs().mean() < 1e-3
        assert (wanted - photo).abs().mean() > 0.02


@pytest.mark.slow
def test_a_graph_does_not_paint_with_the_ground_of_a_photographed_style() -> None:
    framed = torch.full((1, 3, 200, 220), 15 / 255)
    framed[..., 25:-25, 25:-25] = images.resize(STYLE.image, (150, 170))
    session, code = graph(style=images.read(framed))
    assert code.areas[0] is not None
    photo = resized(SIZE_PX, 61)
    found, wanted = painted(session, photo), PAINTER.paint(photo, code, fast=True)
    assert ((found - wanted).abs().amax(1) > VISIBLE).float().mean() < 0.02
    other = PAINTER.paint(photo, replace(code, areas=(), levels={}), fast=True)
    assert ((other - wanted).abs().amax(1) > VISIBLE).float().mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (5, 31), (17, 200), (200, 40)])
def test_photos_of_any_size_are_accepted(size: tuple[int, int]) -> None:
    found = painted(graph()[0], resized(*size))
    assert found.shape == (1, 3, *size)
    assert bool(((found >= 0) & (found <= 1)).all())


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.6])
def test_strength_is_built_in(strength: float) -> None:
    session, code = graph(strength=strength)
    photo = resized(SIZE_PX, 61)
    found, wanted = painted(session, photo), PAINTER.paint(photo, code, strength=strength, fast=True)
    assert (found - wanted).abs().max() < (1e-6 if strength == 0 else 2e-3)


def test_openvino_paints_the_same_graph() -> None:
    pytest.importorskip("openvino")
    from impasto.networks.compiled import CompiledGraph

    code = PAINTER.encode(STYLE)
    data = instant_graph(InstantGraph(STYLE, SIZE_PX), PAINTER, code).SerializeToString()
    photo = resized(SIZE_PX, 61)
    found, wanted = CompiledGraph(data, "fp32")(photo), PAINTER.paint(photo, code, fast=True)
    assert ((found - wanted).abs().amax(1) > VISIBLE).float().mean() < 0.02


# ---------------------------------------------------------------------------------------------------- files


def test_the_command_writes_a_graph_and_prints_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "a.onnx"
    assert main(["export", "onnx", str(target), "--style", "starry-night", "--size", "64", "--strength", "0.9"]) == 0
    output = capsys.readouterr()
    assert "pictures of any size; difference from PyTorch: 0.0" in output.out + output.err
    model = onnx.load(target)
    assert [each.name for each in model.graph.input] == ["photo"]
    facts = {each.key: each.value for each in model.metadata_props}
    wanted = {"style_name": "starry-night", "size": "64", "strength": "0.9", "decoder_sha256": PAINTER.network.sha256}
    assert {name: facts[name] for name in wanted} == wanted
    assert "license" in " ".join(facts).replace("licence", "license")


def test_the_file_of_a_picture_names_no_folder(tmp_path: Path) -> None:
    images.write(tmp_path / "mine.png", STYLE)
    assert main(["export", "onnx", str(tmp_path / "a.onnx"), "--style", str(tmp_path / "mine.png"), "--size", "32"]) == 0
    model = onnx.load(tmp_path / "a.onnx")
    assert str(tmp_path) not in str(model.metadata_props)
    assert {each.key: each.value for each in model.metadata_props}["style_name"] == "mine.png"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.safetensors", "--style", "starry-night"], "does not end in .onnx"),
        (["a.onnx"], "needs a brush or a style; add --brush NAME or --style NAME"),
        (["a.onnx", "--style", "starry-night", "--size", "31"], "size is 31; it must be"),
        (["a.onnx", "--style", "starry-night", "--size", "1025"], "size is 1025; it must be"),
        (["a.onnx", "--style", "starry-night", "--stroke", "2"], "stroke is 2.0; it must be"),
        (["a.onnx", "--style", "starry-night", "--strength", "1.5"], "strength is 1.5; it must be"),
        (["a.onnx", "--style", "starry-night", "--precision", "fp16"], "--precision needs --brush"),
        (["a.onnx", "--style", "starry-night", "--brush", "udnie"], "--style does not apply to brushes; omit it"),
        (["a.onnx", "--style", "starry"], "neither a picture file nor a named style"),
        (["missing/a.onnx", "--style", "starry-night"], "cannot be written"),
    ],
)
def test_a_wrong_request_is_reported_in_one_sentence(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "onnx", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_paints_other_pictures_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instant_onnx, "difference", lambda *_: Difference(*[float("nan")] * 3))
    with pytest.raises(WeightsError, match="more than 5% of the pixels differ from PyTorch"):
        save_instant_graph(tmp_path / "a.onnx", InstantGraph(STYLE, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_named_style_without_a_swatch_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(StyleFileError, match="has no swatch"):
        save_instant_graph(tmp_path / "a.onnx", InstantGraph(replace(find_style("starry-night"), swatch=b""), 32))


@pytest.mark.parametrize("size_px", [64, 128])
def test_features_are_stored_as_float16(size_px: int) -> None:
    code = PAINTER.encode(STYLE)
    rows = PAINTER.level(code, size_px).rows
    model = instant_graph(InstantGraph(STYLE, size_px), PAINTER, code)
    stored = [onnx.numpy_helper.to_array(each) for each in model.graph.initializer]
    tables = [each for each in stored if each.ndim == 2 and len(each) == len(rows) and each.dtype == np.float16]
    assert sum(each.nbytes for each in tables) == 2 * rows.numel()
