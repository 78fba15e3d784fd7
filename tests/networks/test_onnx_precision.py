"""Brushes exported as ONNX files: the command, the check against PyTorch, float16 and int8."""

from pathlib import Path

import pytest
import torch

from impasto.cli import main
from impasto.errors import WeightsError
from impasto.networks import onnx_precision
from impasto.networks.brush_files import load_brush, save_brush
from impasto.networks.johnson import Johnson, Layout
from impasto.networks.onnx_precision import Difference, difference, save_checked
from impasto.networks.onnx_runtime import load_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def brush(tmp_path: Path) -> Path:
    torch.manual_seed(5)  # noqa: TID251  (initialization has no generator)
    facts = {"name": "tiny", "title": "A Tiny Study", "license": "CC0", "curve": "1 2 3"}
    save_brush(tmp_path / "tiny.brush", Johnson(Layout(8, blocks=1, ends=5)), facts)
    return tmp_path / "tiny.brush"


def facts_of(path: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(path).metadata_props}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "largest"), [("fp32", 1e-4), ("fp16", 0.02), ("int8", 0.4)])
def test_the_command_exports_a_brush_and_prints_its_difference_from_torch(
    brush: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, largest: float
) -> None:
    target = tmp_path / "a.onnx"
    words = ["export", "onnx", str(target), "--brush", str(brush), "--precision", precision, "--strength", "0.75"]
    assert main(words) == 0
    output = capsys.readouterr()
    assert "difference from PyTorch: largest" in output.out + output.err
    facts = facts_of(target)
    assert (facts["title"], facts["license"], facts["precision"], facts["strength"]) == (
        "A Tiny Study",
        "CC0",
        precision,
        "0.75",
    )
    assert "curve" not in facts
    network = load_brush(brush)
    assert facts["brush_sha256"] == network.sha256
    assert difference(target, network, strength=0.75).largest < largest
    kinds = {each.op_type for each in onnx.load(target).graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8")
    stored = {each.data_type for each in onnx.load(target).graph.initializer}
    assert (onnx.TensorProto.INT8 in stored) == (precision == "int8")


@pytest.mark.slow
def test_a_float16_graph_computes_in_float16_and_takes_float32(brush: Path, tmp_path: Path) -> None:
    save_checked(tmp_path / "a.onnx", load_brush(brush), "fp16")
    model = onnx.load(tmp_path / "a.onnx")
    weights = {each.name: each.data_type for each in model.graph.initializer}
    convolutions = [each for each in model.graph.node if each.op_type == "Conv"]
    assert {weights[each.input[1]] for each in convolutions} == {onnx.TensorProto.FLOAT16}
    session = load_onnxruntime().InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    assert [each.type for each in (*session.get_inputs(), *session.get_outputs())] == ["tensor(float)"] * 2


@pytest.mark.slow
def test_the_difference_is_that_of_the_pictures(brush: Path, tmp_path: Path) -> None:
    network = load_brush(brush)
    save_checked(tmp_path / "a.onnx", network, "fp32")
    network.out.convolution.bias.data += 0.01  # type: ignore[operator, union-attr]
    found = difference(tmp_path / "a.onnx", network)
    assert found.largest == pytest.approx(0.01, abs=1e-4)
    assert 0 < found.mean <= 0.0101


@pytest.mark.parametrize(("precision", "advice"), [("fp32", "another version of onnxruntime"), ("fp16", "--precision fp32")])
@pytest.mark.parametrize("largest", [1.5, float("nan")])
def test_a_graph_that_paints_other_pictures_is_not_written(
    brush: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, advice: str, largest: float
) -> None:
    monkeypatch.setattr(onnx_precision, "difference", lambda *_: Difference(largest, largest))
    (tmp_path / "a.onnx").write_bytes(b"old")
    with pytest.raises(WeightsError, match=rf"is not written: its pictures differ from PyTorch.*{advice}"):
        save_checked(tmp_path / "a.onnx", load_brush(brush), precision)  # type: ignore[arg-type]
    assert (tmp_path / "a.onnx").read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.onnx", "tiny.brush"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.onnx", "--brush", "missing.brush"], "'missing.brush' does not exist"),
        (["a.onnx", "--brush", "tiny.brush", "--strength", "1.5"], "strength is 1.5; it must be"),
        (["a.onnx", "--brush", "tiny.brush", "--strength", "nan"], "strength is nan; it must be"),
        (["a.onnx", "--brush", "tiny.brush", "--style", "starry-night"], "--style does not apply to brushes"),
        (["a.onnx", "--brush", "tiny.brush", "--size", "256"], "--size does not apply to brushes"),
        (["a.onnx", "--strength", "0.5"], "export onnx needs a brush or a style"),
        (["a.onnx", "--precision", "int8"], "--precision needs --brush"),
        (["a.onnx", "--brush", "tiny.brush", "--precision", "int4"], "int4"),
        (["missing/a.onnx", "--brush", "tiny.brush"], "cannot be written"),
        (["tiny.brush", "--brush", "tiny.brush"], "does not end in .onnx"),
    ],
)
def test_bad_input_is_reported_in_one_sentence(
    brush: Path,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "onnx", *words]) == 2
    assert message in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["tiny.brush"]


def test_a_brush_named_like_a_graph_is_not_overwritten(brush: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = brush.rename(tmp_path / "a.onnx")
    before = named.read_bytes()
    assert main(["export", "onnx", str(named), "--brush", str(named)]) == 2
    assert "would overwrite an input" in capsys.readouterr().err
    assert named.read_bytes() == before
