"""The pastiche: its record and its file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from impasto import images
from impasto._version import __version__
from impasto.errors import ImageFileError
from impasto.features.statistics import moments
from impasto.optim.engine import Step
from impasto.options import PaintOptions, Run
from impasto.recipes.pastiche import Pastiche, described, new_record, with_progress
from impasto.styles.named import measured_style


@pytest.fixture
def style(photo: Tensor) -> images.Picture:
    return images.read(photo.flip(1))


def step(**changes: float) -> Step:
    losses = {"style": 1 / 3, "content": 2.0, **changes}
    return Step(7, 30, 1, (64, 96), losses, torch.zeros(1, 3, 64, 96), seconds=1.23456)


def test_a_new_record_contains_versions_hashes_and_every_option(photo: Tensor, style: images.Picture) -> None:
    content = images.read(photo)
    record = new_record(content, [style], PaintOptions(steps=9), Run(seed=4), "abc")
    assert (record["impasto"], record["torch"], record["recipe"]) == (__version__, torch.__version__, "neighbors")
    assert record["content"] == {"name": "tensor", "sha256": content.sha256}
    assert record["styles"] == [{"name": "tensor", "kind": "picture", "sha256": style.sha256}]
    assert record["encoder"] == {"name": "vgg19-slim", "sha256": "abc"}
    assert set(record["options"]) == set(vars(PaintOptions()))
    assert record["options"]["steps"] == 9
    assert record["run"]["seed"] == 4


def test_a_named_style_is_described_by_its_name(photo: Tensor) -> None:
    named = measured_style({"name": "haystacks"}, lambda edge_px: {}, moments(photo), sizes=(64,))
    assert described(named) == {"name": "haystacks", "kind": "named", "file_sha256": ""}
    assert described(replace(named, sha256="abc"))["file_sha256"] == "abc"


def test_a_record_contains_the_hash_of_the_init_file(photo: Tensor, style: images.Picture, tmp_path: Path) -> None:
    def init_of(init: str) -> dict[str, str] | None:
        return new_record(style, [style], PaintOptions(init=init), Run(), "").get("init")

    images.write(tmp_path / "begun.png", photo)
    expected = images.read(tmp_path / "begun.png").sha256
    assert init_of(str(tmp_path / "begun.png")) == {"name": "begun.png", "sha256": expected}
    assert init_of(str(tmp_path / "gone.png")) == {"name": "gone.png", "sha256": ""}
    assert init_of("content") is None


def test_with_progress_returns_a_new_record() -> None:
    given = {"impasto": "1"}
    record = with_progress(given, step())
    assert given == {"impasto": "1"}
    assert record["impasto"] == "1"
    assert record["steps"] == {"done": 7, "planned": 30, "scale": 1, "size": [64, 96]}
    assert record["losses"] == {"style": 0.333333, "content": 2.0}
    assert record["seconds"] == 1.23


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_record_is_valid_json_even_if_the_loss_is_nan(photo: Tensor, style: images.Picture, value: float) -> None:
    record = with_progress(new_record(images.read(photo), [style], PaintOptions(), Run(), ""), step(style=value))
    assert json.loads(json.dumps(record, allow_nan=False))["losses"]["style"] is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_the_record_is_saved_in_the_file_and_read_back(
    photo: Tensor, style: images.Picture, tmp_path: Path, suffix: str
) -> None:
    record = with_progress(new_record(images.read(photo), [style], PaintOptions(), Run(), "abc"), step())
    Pastiche(photo, record=record).save(tmp_path / f"result{suffix}")
    assert images.read_record(tmp_path / f"result{suffix}") == json.loads(json.dumps(record))


def test_the_record_is_omitted_from_the_file_on_request(photo: Tensor, tmp_path: Path) -> None:
    Pastiche(photo, record={"secret": 1}).save(tmp_path / "result.png", with_record=False)
    assert images.read_record(tmp_path / "result.png") is None


def test_a_pastiche_is_saved_with_sixteen_bits_on_request(photo: Tensor, tmp_path: Path) -> None:
    Pastiche(photo).save(tmp_path / "result.png", bits=16)
    torch.testing.assert_close(images.read(tmp_path / "result.png").image, photo, atol=1 / 65535, rtol=0)


def test_an_unwritable_path_is_refused(photo: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ImageFileError):
        Pastiche(photo).save(tmp_path / "missing" / "result.png")
    assert list(tmp_path.iterdir()) == []
