"""Brush files: what is saved is read again, and damaged or hostile files are refused in one sentence."""

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from impasto.errors import WeightsError
from impasto.networks import brush_files
from impasto.networks.brush_files import brush_facts, brush_path, load_brush, save_brush, shipped_brushes
from impasto.networks.decoder_files import save_decoder
from impasto.networks.johnson import Johnson, Layout
from impasto.networks.style_swap import Decoder, DecoderWidths
from impasto.weights.files import sha256_of

LAYOUT = Layout(4, blocks=1, ends=5)
FACTS = {"name": "mine", "title": "My picture", "minutes": "60"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_brush(tmp_path / "mine.brush", Johnson(LAYOUT), FACTS)
    return tmp_path / "mine.brush"


def rewrite(path: Path, **header: str) -> None:
    """Replace entries of the header."""
    with safetensors.safe_open(path, "pt") as file:
        old = file.metadata()
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {**old, **header})


def refused(brush: str | Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_brush(brush)
    with pytest.raises(WeightsError):
        brush_facts(brush)
    return str(caught.value)


def test_a_brush_is_read_as_it_was_saved(tmp_path: Path) -> None:
    network = Johnson(LAYOUT)
    save_brush(tmp_path / "a.brush", network, FACTS)
    read = load_brush(tmp_path / "a.brush")
    assert read.layout == LAYOUT
    assert read.sha256 == sha256_of(tmp_path / "a.brush")
    assert not any(each.requires_grad for each in read.parameters())
    photo = torch.rand(1, 3, 20, 28)
    assert (read(photo) - network(photo)).abs().max() < 0.02
    assert brush_facts(tmp_path / "a.brush") == FACTS


@pytest.mark.parametrize("layout", [LAYOUT, Layout(4, 1, "zero", "transposed", "tanh", 1e-3)])
def test_every_kind_of_layout_is_saved(layout: Layout, tmp_path: Path) -> None:
    save_brush(tmp_path / "a.brush", Johnson(layout), {})
    assert load_brush(tmp_path / "a.brush").layout == layout


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '"full"',
        json.dumps({"width": 10**12, "blocks": 10**9}),
        json.dumps({"width": 4, "blocks": 1, "ends": 5, "padding": 1}),
        json.dumps(LAYOUT._asdict() | {"width": 1024, "blocks": 64}),
        json.dumps(LAYOUT._asdict() | {"blocks": 2}),
        json.dumps(LAYOUT._asdict() | {"border": "wrap"}),
        json.dumps(LAYOUT._asdict() | {"output": "tanh"}),
        json.dumps(LAYOUT._asdict() | {"width": 1e400}),
        json.dumps(LAYOUT._asdict() | {"epsilon": -1.0}),
    ],
)
def test_a_hostile_layout_is_refused(layout: str, path: Path) -> None:
    rewrite(path, layout=layout)
    with pytest.raises(WeightsError, match="is damaged: its weights do not fit its header"):
        load_brush(path)


def test_another_version_is_named(path: Path) -> None:
    rewrite(path, impasto_brush="2")
    assert "has version 2, but this impasto reads version 1" in refused(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_a_truncated_brush_is_refused(share: float, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refused(path)
    assert str(path) in message


def test_weights_that_are_not_finite_are_refused(path: Path) -> None:
    tensors = safetensors.torch.load_file(path)
    tensors["out.convolution.bias"][0] = torch.inf
    with safetensors.safe_open(path, "pt") as file:
        safetensors.torch.save_file(tensors, path, file.metadata())
    with pytest.raises(WeightsError, match="not finite"):
        load_brush(path)
    with pytest.raises(WeightsError, match="not finite"):
        save_brush(path, Johnson(LAYOUT).double().to(torch.float64).apply(_make_infinite), {})


def _make_infinite(module: torch.nn.Module) -> None:
    for each in module.parameters():
        each.data.fill_(1e6)


def test_another_network_of_impasto_is_not_a_brush(tmp_path: Path) -> None:
    save_decoder(tmp_path / "decoder.safetensors", Decoder((4, 4, 4), DecoderWidths(4, 4, 4, 1)), {})
    assert "is not a brush" in refused(tmp_path / "decoder.safetensors")


def test_names_of_included_brushes_are_known(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brush_files, "_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert shipped_brushes() == {"mine": path}
    assert load_brush("mine").layout == LAYOUT
    (tmp_path / "mine").mkdir()  # a folder does not hide a brush
    assert brush_path("mine") == path
    assert "did you mean 'mine'?" in refused("mime")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.brush", "does not exist"),
        ("folder/missing", "does not exist"),
        ("folder", "is a folder"),
        ("n" * 300, "is not known"),
        ("a\0b", "is not known"),
        ("missing", "is not known; give a .brush file"),
    ],
)
def test_a_name_of_nothing_is_refused(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(brush_files, "_FOLDER", tmp_path / "none")
    (tmp_path / "folder").mkdir()
    assert message in refused(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.brush")
    assert "is not a file" in refused(tmp_path / "pipe.brush")


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x04", b" <"])
def test_a_header_whose_length_looks_like_another_format_is_read(start: bytes, path: Path) -> None:
    """The first bytes of safetensors are the length of the header, and 640 looks like a pickle."""
    length = int.from_bytes(start.ljust(8, b"\0"), "little")
    tensors = {"a": torch.zeros(4)} if length < 2000 else safetensors.torch.load_file(path)
    header = {"format": "impasto", "impasto_brush": "9", "padding": ""}
    missing = length - int.from_bytes(safetensors.torch.save(tensors, header)[:8], "little")
    data = safetensors.torch.save(tensors, {**header, "padding": "x" * missing})
    path.write_bytes(data)
    assert path.read_bytes().startswith(start)
    assert "has version 9" in refused(path)
