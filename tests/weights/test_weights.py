"""Weights: published formats, refused files, and the cache."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from impasto import weights
from impasto.cli.weights import app
from impasto.encoders import LAYERS, Vgg, load_encoder, vgg_from_weights
from impasto.encoders.vgg import BLOCKS, BLOCKS_OF_VGG16, each_width
from impasto.errors import OptionError, WeightsError
from impasto.weights import CatalogueEntry, import_file, read_vgg, save_vgg
from impasto.weights import files as weight_files
from impasto.weights.canonical import (
    _OXFORD_FILTERS,
    _VGG16_BIAS,
    _VGG16_PLANE,
    CONVOLUTIONS,
    VGG16,
    is_oxfords_vgg16,
    recognize_oxford,
)
from impasto.weights.matlab import read_matlab

State = dict[str, torch.Tensor]

SEQUENCE = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
SEQUENCE_OF_VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
SEQUENCE_OF_ADAIN = (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)
OXFORD_MEAN = torch.tensor([123.68, 116.779, 103.939])
TORCHVISION_MEAN, TORCHVISION_STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


# ---------------------------------------------------------------------------------------------------- a network to write


def narrow(*, oxford: bool = True, last: str | None = None, blocks: tuple[int, ...] = BLOCKS) -> Vgg:
    """Return a narrow VGG-19 with random weights for pixels from 0 to 255; its first filters are Oxford's by default."""
    random = torch.Generator().manual_seed(0)
    vgg = Vgg((8, 9, 10, 11, 12), last=last, blocks=blocks).requires_grad_(False)
    for convolution in vgg.convolutions.values():
        assert isinstance(convolution, torch.nn.Conv2d)
        assert convolution.bias is not None
        convolution.weight.normal_(0, (2 / convolution.weight[0].numel()) ** 0.5, generator=random)
        convolution.bias.normal_(0, 5, generator=random)
    first = vgg.convolutions["1_1"]
    assert isinstance(first, torch.nn.Conv2d)
    assert first.bias is not None
    if oxford and blocks == BLOCKS_OF_VGG16:
        first.bias[0] = _VGG16_BIAS / 100
        first.weight[0] = torch.tensor(_VGG16_PLANE).reshape(1, 3, 3) / 100 * torch.tensor([1.05, 1.2, 1.0])[:, None, None]
    for channel, (bias, weight) in _OXFORD_FILTERS.items():
        if oxford and blocks == BLOCKS:
            first.bias[channel] = bias / 100
            first.weight[channel] = torch.tensor(weight).reshape(3, 3, 3).flip(0) / 100
    vgg.mean.copy_(OXFORD_MEAN / 255)
    vgg.std.fill_(1 / 255)
    return vgg.eval()


def pairs(vgg: Vgg) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Return name, weight and bias of each convolution; the first one takes RGB."""
    state = vgg.state_dict()
    return [(name, state[f"convolutions.{name}.weight"], state[f"convolutions.{name}.bias"]) for name in vgg.convolutions]


def bgr(weight: torch.Tensor) -> torch.Tensor:
    return weight.flip(1).contiguous() if weight.shape[1] == 3 else weight


def caffe(vgg: Vgg, key: Callable[[int, str], str]) -> State:
    """Return a state_dict for BGR pixels, with the given form of keys."""
    state: State = {}
    for number, (name, weight, bias) in enumerate(pairs(vgg)):
        state |= {f"{key(number, name)}.weight": bgr(weight), f"{key(number, name)}.bias": bias}
    return state


def sequence(vgg: Vgg) -> tuple[int, ...]:
    """Return the positions of the convolutions of this network in torchvision's sequence."""
    return SEQUENCE if vgg.blocks == BLOCKS else SEQUENCE_OF_VGG16


def torchvision(vgg: Vgg, prefix: str = "features.") -> State:
    """Return the same network, rescaled to torchvision's input."""
    state = caffe(vgg, lambda number, name: f"{prefix}{sequence(vgg)[number]}")
    _, weight, bias = pairs(vgg)[0]
    state[f"{prefix}0.weight"] = weight * (TORCHVISION_STD * 255)[None, :, None, None]
    shift = (TORCHVISION_MEAN * 255 - OXFORD_MEAN)[None, :, None, None]
    state[f"{prefix}0.bias"] = bias + (weight * shift).sum((1, 2, 3))
    return state


def adain(vgg: Vgg) -> State:
    state = caffe(vgg, lambda number, name: f"{SEQUENCE_OF_ADAIN[number]}")
    state["0.weight"] = torch.eye(3).flip(0)[:, :, None, None] * 255
    state["0.bias"] = -OXFORD_MEAN.flip(0)
    return state


def uint8(vgg: Vgg) -> State:
    """Store each weight in 8 bits, as ``weight * scale + min``; weights are rounded first, so that nothing is lost."""
    state: State = {}
    for name, weight, bias in pairs(vgg):
        scale, least = (weight.max() - weight.min()) / 255, weight.min()
        steps = ((weight - least) / scale).round()
        weight.copy_(steps * scale + least)
        state |= {f"conv{name}.weight": bgr(steps).to(torch.uint8), f"conv{name}.scale": scale, f"conv{name}.min": least}
        state[f"conv{name}.bias"] = bias
    return state


def height_width(weight: torch.Tensor) -> Any:
    return np.ascontiguousarray(weight.permute(2, 3, 1, 0).numpy())


def matlab(vgg: Vgg, path: Path, region_masks: str) -> None:
    layers: list[dict[str, Any]] = []
    for name, weight, bias in pairs(vgg):
        both = np.empty((1, 2), dtype=object)
        both[0, 0], both[0, 1] = height_width(weight), bias.numpy()[None]
        if region_masks == "old":
            layers.append({"filters": both[0, 0], "biases": both[0, 1], "type": "conv", "name": f"conv{name}"})
        else:
            layers.append({"name": f"conv{name}", "type": "conv", "weights": both})
        layers.append({"name": f"relu{name}", "type": "relu"})
    layers.append({"name": "fc6", "type": "conv", "weights": np.zeros((1, 2), dtype=object)})
    cells = np.empty((1, len(layers)), dtype=object)
    cells[0, :] = layers
    image = np.broadcast_to(OXFORD_MEAN.numpy(), (4, 4, 3)).astype(np.float64)
    if region_masks == "old":
        file: dict[str, Any] = {"layers": cells, "normalization": {"averageImage": image, "imageSize": [4, 4, 3]}}
    else:
        meta = {"normalization": {"imageSize": [4, 4, 3], "averageImage": OXFORD_MEAN.numpy()[None, None].astype(np.float64)}}
        file = {"layers": cells, "meta": meta}
    with path.open("wb") as opened:
        scipy.io.savemat(opened, {"net": file} if region_masks == "net" else file, do_compression=region_masks == "new")


def keras(vgg: Vgg, path: Path, weight_key: str, bias_key: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, weight, bias in pairs(vgg):
            layer = f"block{name[0]}_conv{name[2]}"
            file[weight_key.format(layer)] = height_width(bgr(weight))
            file[bias_key.format(layer)] = bias.numpy()
        file["predictions/predictions/kernel:0"] = np.zeros((4, 5), np.float32)


def write_torch(state: Mapping[str, Any], path: Path, **how: Any) -> None:
    torch.save(state, path, **how)


CLASSIFIER = {"classifier.0.weight": torch.zeros(4, 4), "classifier.0.bias": torch.zeros(4)}
OLD_CLASSIFIER = {"classifier.1.weight": torch.zeros(4, 4), "classifier.1.bias": torch.zeros(4)}
FORMS: dict[str, Callable[[Vgg, Path], None]] = {
    "torchvision": lambda vgg, path: write_torch(torchvision(vgg) | CLASSIFIER, path),
    "torchvision, features alone": lambda vgg, path: write_torch(torchvision(vgg, prefix=""), path),
    "torchvision, legacy": lambda vgg, path: write_torch(torchvision(vgg), path, _use_new_zipfile_serialization=False),
    "torchvision, wrapped": lambda vgg, path: write_torch({"state_dict": torchvision(vgg), "epoch": 3}, path),
    "neural-style-pt": lambda vgg, path: write_torch(
        caffe(vgg, lambda n, _: f"features.{sequence(vgg)[n]}") | CLASSIFIER, path
    ),
    "neural-style-pt, legacy": lambda vgg, path: write_torch(
        caffe(vgg, lambda n, _: f"features.{sequence(vgg)[n]}") | OLD_CLASSIFIER, path, _use_new_zipfile_serialization=False
    ),
    "Gatys": lambda vgg, path: write_torch(caffe(vgg, lambda _, name: f"conv{name}"), path),
    "AdaIN": lambda vgg, path: write_torch(adain(vgg), path),
    "MatConvNet, old": lambda vgg, path: matlab(vgg, path, "old"),
    "MatConvNet, new": lambda vgg, path: matlab(vgg, path, "new"),
    "MatConvNet, net": lambda vgg, path: matlab(vgg, path, "net"),
    "Keras, old": lambda vgg, path: keras(vgg, path, "{0}/{0}_W_1:0", "{0}/{0}_b_1:0"),
    "Keras, new": lambda vgg, path: keras(vgg, path, "{0}/{0}/kernel:0", "{0}/{0}/bias:0"),
    "Keras, whole model": lambda vgg, path: keras(vgg, path, "model_weights/{0}/{0}/kernel:0", "model_weights/{0}/{0}/bias:0"),
    "Keras 3": lambda vgg, path: keras(vgg, path, "layers/{0}/vars/0", "layers/{0}/vars/1"),
    "safetensors, torchvision": lambda vgg, path: save_file(torchvision(vgg), path),
    "safetensors, Gatys": lambda vgg, path: save_file(caffe(vgg, lambda _, name: f"conv{name}"), path),
    "safetensors, 8 bit": lambda vgg, path: save_file(uint8(vgg), path),
    "safetensors, AdaIN": lambda vgg, path: save_file(adain(vgg), path),
    "state of a Vgg": lambda vgg, path: write_torch(vgg.state_dict(), path),
}


def assert_alike(path: Path, vgg: Vgg, photo: torch.Tensor) -> None:
    """Assert that the network in the file gives the features of the network that was written."""
    layers = ("conv1_1", "relu2_1", "relu4_1")
    found = vgg_from_weights(read_vgg(path))(photo, layers)
    for layer, expected in vgg(photo, layers).items():
        assert torch.allclose(found[layer], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())), layer


@pytest.mark.parametrize("form", FORMS)
def test_every_published_format_gives_the_same_features(form: str, tmp_path: Path, photo: torch.Tensor) -> None:
    vgg = narrow()
    FORMS[form](vgg, tmp_path / "weights with a neutral name")
    assert_alike(tmp_path / "weights with a neutral name", vgg, photo)


@pytest.mark.parametrize("form", [form for form in FORMS if "AdaIN" not in form])
@pytest.mark.parametrize("last", [None, "4_1"])
def test_vgg16_is_read_from_every_published_format(form: str, last: str | None, tmp_path: Path, photo: torch.Tensor) -> None:
    vgg = narrow(blocks=BLOCKS_OF_VGG16, last=last)
    FORMS[form](vgg, tmp_path / "weights with a neutral name")
    found = read_vgg(tmp_path / "weights with a neutral name")
    assert (found.network, tuple(found.convolutions)) == ("vgg16", VGG16[: VGG16.index(last or "5_3") + 1])
    assert_alike(tmp_path / "weights with a neutral name", vgg, photo)


def test_torchvisions_vgg16_uses_torchvisions_input(tmp_path: Path, photo: torch.Tensor) -> None:
    vgg = narrow(oxford=False, blocks=BLOCKS_OF_VGG16)
    for form in ("torchvision", "torchvision, features alone", "safetensors, torchvision"):
        FORMS[form](vgg, tmp_path / "weights")
        assert_alike(tmp_path / "weights", vgg, photo)


def test_oxfords_vgg16_is_recognized_by_its_first_filter_and_input_range() -> None:
    _, weight, bias = pairs(narrow(blocks=BLOCKS_OF_VGG16))[0]
    assert is_oxfords_vgg16(weight, bias)
    assert is_oxfords_vgg16(weight * 0.01, bias * 0.01)
    assert not is_oxfords_vgg16(weight * 57.6, bias)
    assert not is_oxfords_vgg16(*pairs(narrow())[0][1:])


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith(("torchvision", "neural", "safetensors, t"))])
def test_another_network_is_read_with_the_input_convention_of_its_format(
    form: str, tmp_path: Path, photo: torch.Tensor
) -> None:
    vgg = narrow(oxford=False)
    FORMS[form](vgg, tmp_path / "weights")
    assert_alike(tmp_path / "weights", vgg, photo)


@pytest.mark.parametrize("form", ["torchvision", "torchvision, legacy", "safetensors, torchvision", "neural-style-pt, legacy"])
def test_a_sequence_that_is_not_oxfords_is_read_as_torchvisions_or_caffes(
    form: str, tmp_path: Path, photo: torch.Tensor
) -> None:
    vgg = narrow(oxford=False)
    FORMS[form](vgg, tmp_path / "weights")
    assert_alike(tmp_path / "weights", vgg, photo)


@pytest.mark.parametrize("form", ["torchvision", "neural-style-pt", "Gatys", "AdaIN", "MatConvNet, new", "Keras, new"])
@pytest.mark.parametrize("last", ["4_1", "5_1"])
def test_a_file_may_end_before_the_last_layer(form: str, last: str, tmp_path: Path, photo: torch.Tensor) -> None:
    FORMS[form](narrow(last=last), tmp_path / "weights")
    assert_alike(tmp_path / "weights", narrow(), photo)
    vgg = vgg_from_weights(read_vgg(tmp_path / "weights"))
    assert vgg.layers == LAYERS[: LAYERS.index(f"relu{last}") + 1]
    with pytest.raises(OptionError, match=re.escape("layer 'relu5_4' is not in this network")):
        vgg(photo, ["relu5_4"])


def test_transposed_filters_are_corrected(tmp_path: Path, photo: torch.Tensor) -> None:
    vgg, lying = narrow(), narrow()
    for _, weight, _ in pairs(lying):
        weight.copy_(weight.transpose(2, 3).clone())
    matlab(lying, tmp_path / "weights", "new")
    assert_alike(tmp_path / "weights", vgg, photo)


def test_networks_with_normalized_activations_are_read(tmp_path: Path, photo: torch.Tensor) -> None:
    vgg = narrow()
    state = vgg.state_dict()
    sizes = torch.linspace(0.01, 3, 8)
    state["convolutions.1_1.weight"].mul_(sizes[:, None, None, None])
    state["convolutions.1_1.bias"].mul_(sizes)
    FORMS["neural-style-pt"](vgg, tmp_path / "weights")
    assert_alike(tmp_path / "weights", vgg, photo)


@given(
    sizes=st.lists(st.floats(0.01, 100), min_size=8, max_size=8),
    flipped=st.booleans(),
    swapped=st.booleans(),
    scale=st.sampled_from([1.0, 57.6]),
)
def test_oxfords_network_is_recognized_at_any_scale(sizes: list[float], flipped: bool, swapped: bool, scale: float) -> None:
    _, weight, bias = pairs(narrow())[0]
    weight = weight.flip(1) if flipped else weight
    weight = weight.transpose(2, 3) if swapped else weight
    each = torch.tensor(sizes)
    found = recognize_oxford(weight * each[:, None, None, None] * scale, bias * each)
    assert found is not None
    assert found[0].name == f"{'BGR' if flipped else 'RGB'} {'from 0 to 255' if scale == 1 else 'of unit deviation'}"
    assert found[1] is swapped


def test_another_network_is_not_recognized_as_oxfords() -> None:
    _, weight, bias = pairs(narrow(oxford=False))[0]
    assert recognize_oxford(weight, bias) is None


def test_the_format_and_the_hash_are_reported(tmp_path: Path) -> None:
    FORMS["neural-style-pt"](narrow(), tmp_path / "weights")
    found = read_vgg(tmp_path / "weights")
    assert found.form == "PyTorch with torchvision's layers: Oxford's network, which reads BGR from 0 to 255"
    assert found.sha256 == hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()
    assert list(found.convolutions) == list(CONVOLUTIONS)
    assert found.heads == {}


@pytest.mark.slow
def test_the_full_network_is_recognized_in_both_conventions(shared: Path, tmp_path: Path) -> None:
    teacher = shared / "teachers" / "vgg19_uint8.safetensors"
    vgg = vgg_from_weights(read_vgg(teacher))
    assert "Oxford's network, which reads BGR from 0 to 255" in read_vgg(teacher).form
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = ["relu1_1", "relu3_1", "relu5_4"]
    for state in (caffe(vgg, lambda number, name: f"features.{SEQUENCE[number]}"), torchvision(vgg)):
        torch.save(state, tmp_path / "weights.pth")
        found = vgg_from_weights(read_vgg(tmp_path / "weights.pth"))(picture, layers)
        for layer, expected in vgg(picture, layers).items():
            assert torch.allclose(found[layer], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())), layer


# ---------------------------------------------------------------------------------------------------- our own form


def slim() -> Vgg:
    random = torch.Generator().manual_seed(1)
    vgg = Vgg((4, 5, 6, 7, 8), with_heads=True).requires_grad_(False)
    for value in vgg.state_dict().values():
        value.normal_(generator=random)
    vgg.std.abs_()
    return vgg


@pytest.mark.parametrize(("bits", "tolerance"), [(16, 1e-3), (8, 1 / 254)])
def test_our_own_format_preserves_the_network_within_its_precision(bits: Any, tolerance: float, tmp_path: Path) -> None:
    vgg = slim()
    save_vgg(tmp_path / "slim.safetensors", vgg, {"licence": "MIT"}, bits=bits)
    found = read_vgg(tmp_path / "slim.safetensors")
    back = vgg_from_weights(found).state_dict()
    assert found.form == f"impasto's own form, {bits} bit"
    assert found.widths == each_width((4, 5, 6, 7, 8))
    assert back.keys() == vgg.state_dict().keys()
    for key, expected in vgg.state_dict().items():
        if key.endswith("weight"):
            largest = expected.flatten(1).abs().amax(1).reshape(-1, *(1,) * (expected.ndim - 1))
            assert ((back[key] - expected).abs() <= 1.001 * tolerance * largest).all(), key
        else:
            assert torch.equal(back[key], expected), key


def test_our_own_format_stores_the_header_and_8_bit_weights(tmp_path: Path) -> None:
    save_vgg(tmp_path / "slim.safetensors", slim(), {"licence": "MIT"})
    with safe_open(tmp_path / "slim.safetensors", "pt") as file:
        assert file.metadata() == {"format": "impasto", "licence": "MIT"}
        assert file.get_tensor("convolutions.3_2.weight").dtype == torch.int8
        assert file.get_tensor("heads.relu4_2.scale").shape == (512,)
    assert [file.name for file in tmp_path.iterdir()] == ["slim.safetensors"]


def test_a_zero_channel_is_preserved_in_8_bits(tmp_path: Path) -> None:
    vgg = slim()
    vgg.state_dict()["convolutions.2_1.weight"][3] = 0
    save_vgg(tmp_path / "slim.safetensors", vgg, {})
    assert not read_vgg(tmp_path / "slim.safetensors").convolutions["2_1"][0][3].any()


def test_a_failed_write_of_weights_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be written"):
        save_vgg(tmp_path / "no such folder" / "slim.safetensors", slim(), {})
    assert list(tmp_path.iterdir()) == []


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    vgg = slim()
    del vgg.heads["relu4_2"]
    save_vgg(tmp_path / "slim.safetensors", vgg, {})
    with pytest.raises(WeightsError, match="heads"):
        vgg_from_weights(read_vgg(tmp_path / "slim.safetensors"))


# ---------------------------------------------------------------------------------------------------- bad files


class Malicious:
    """An object whose pickle runs a command if it is loaded unsafely."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"echo run > {self.trace}",)


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle", "inside a state"])
def test_a_malicious_pickle_is_not_executed(container: str, tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "vgg19.pth"
    evil = Malicious(trace)
    if container == "pickle":
        file.write_bytes(pickle.dumps(evil))
    else:
        content = torchvision(narrow()) | {"evil": evil} if container == "inside a state" else evil
        torch.save(content, file, _use_new_zipfile_serialization=container != "legacy")
    with pytest.raises(WeightsError, match="Python code, which impasto never runs") as caught:
        read_vgg(file)
    assert not trace.exists()
    assert "\n" not in str(caught.value)


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), tmp_path / "vgg19.pth")
    with pytest.raises(WeightsError, match=re.escape("save only the network's state_dict()")):
        read_vgg(tmp_path / "vgg19.pth")


def tar(buffer: io.BytesIO) -> None:
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))


def zipped(*names: str) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, b"x")

    return written(write)


BAD_BYTES = {
    "empty": (b"", "this file is empty"),
    "random": (
        bytes(np.random.default_rng(0).integers(1, 256, 5000, dtype=np.uint8)),
        "not a weight file in a supported format",
    ),
    "random pickle": (b"\x80\x02" + bytes(np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8)), "damaged"),
    "short": (b"PK", "not a weight file in a supported format"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "this is a web page"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "this is a web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 574673361\n", "Git LFS"),
    "torch 7": (b"\x04\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00V 1", "Torch 7"),
    "numpy": (written(lambda buffer: np.save(buffer, np.zeros(3))), "NumPy"),
    "tar": (written(tar), "tar archive"),
    "another zip": (zipped("picture.png"), "zip archive"),
    "torchscript": (zipped("net/data.pkl", "net/constants.pkl"), "TorchScript"),
    "whole keras": (zipped("config.json", "model.weights.h5"), "complete Keras model"),
    "matlab 7.3": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + b" " * 600, "MATLAB 7.3"),
    "not matlab": (b"MATLAB 5.0 MAT-file" + b"\x07" * 600, "damaged"),
    "not hdf5": (b"\x89HDF\r\n\x1a\n" + b"\x07" * 600, "damaged"),
    "not safetensors": (b"\x40\x00\x00\x00\x00\x00\x00\x00{" + b"x" * 600, "damaged"),
    "a tensor": (written(lambda buffer: torch.save(torch.zeros(3), buffer)), "contains a Tensor"),
    "no tensors": (written(lambda buffer: torch.save({"epoch": 3}, buffer)), "none of its 0 tensors"),
    "another matlab": (written(lambda buffer: scipy.io.savemat(buffer, {"x": 1})), "contains no layers"),
}


def assert_refused(path: Path, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence) as caught:
        read_vgg(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", BAD_BYTES)
def test_files_that_are_not_weights_are_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    if "hdf5" in kind:
        pytest.importorskip("h5py")
    content, sentence = BAD_BYTES[kind]
    (tmp_path / "vgg19.pth").write_bytes(content)
    assert_refused(tmp_path / "vgg19.pth", sentence)


@pytest.mark.parametrize(
    "form", ["torchvision", "torchvision, legacy", "MatConvNet, new", "Keras, new", "safetensors, Gatys", "AdaIN"]
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused(form: str, share: float, tmp_path: Path) -> None:
    FORMS[form](narrow(), tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(share * len(whole))])
    assert_refused(tmp_path / "cut", "damaged|layers in between are missing|it ends at|contains no layer")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torchvision", "torchvision, legacy", "MatConvNet, old", "Keras, new", "safetensors, Gatys"])
def test_damaged_files_raise_no_error_but_weights_errors(form: str, tmp_path: Path) -> None:
    FORMS[form](narrow(), tmp_path / "weights")
    whole = (tmp_path / "weights").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in random.integers(0, random.choice([1000, len(whole)]), random.choice([1, 20])):
            damaged[at] = random.integers(256)
        (tmp_path / "weights").write_bytes(damaged)
        with contextlib.suppress(WeightsError):
            read_vgg(tmp_path / "weights")


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_without_read_permission_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.pth" if what == "missing" else tmp_path
    assert_refused(path, "cannot be read")


def without(name: str) -> State:
    return {key: value for key, value in caffe(narrow(), lambda _, each: f"conv{each}").items() if name not in key}


BAD_STATES: dict[str, tuple[Callable[[], State], str]] = {
    "VGG-16 and more": (lambda: without("3_4"), "layers in between are missing"),
    "VGG-16 up to conv3_3": (lambda: caffe(narrow(last="3_3"), lambda _, name: f"conv{name}"), "it ends at conv3_3"),
    "ResNet": (lambda: {"conv1.weight": torch.zeros(8, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3)}, "none of"),
    "batch normalization": (lambda: torchvision(narrow()) | {"features.1.running_mean": torch.zeros(8)}, "batch normalization"),
    "VGG-11": (
        lambda: {f"features.{at}.{p}": torch.zeros(8) for at in (0, 3, 6) for p in ("weight", "bias")},
        "another network",
    ),
    "three layers": (lambda: dict(list(torchvision(narrow()).items())[:6]), "it ends at conv2_1"),
    "a gap": (lambda: without("2_2"), "missing"),
    "no bias": (lambda: {k: v for k, v in torchvision(narrow()).items() if k != "features.5.bias"}, "layer 2_1 has no bias"),
    "no first weight": (lambda: {k: v for k, v in torchvision(narrow()).items() if k != "features.0.weight"}, "has no weight"),
    "a wrong shape": (
        lambda: torchvision(narrow()) | {"features.5.weight": torch.zeros(9, 7, 3, 3)},
        "conv2_1 have shape 9x7x3x3",
    ),
    "a gray input": (lambda: torchvision(narrow()) | {"features.0.weight": torch.zeros(8, 1, 3, 3)}, "three colors"),
    "not a number": (lambda: torchvision(narrow()) | {"features.5.bias": torch.full((9,), torch.nan)}, "not finite"),
    "a flat first": (lambda: adain(narrow()) | {"0.weight": torch.zeros(3, 3, 1, 1)}, "must be 1x1 on three colors"),
    "no mean": (lambda: {k: v for k, v in narrow().state_dict().items() if k != "mean"}, "lacks the mean"),
}


@pytest.mark.parametrize("kind", BAD_STATES)
@pytest.mark.parametrize("container", ["torch", "safetensors"])
def test_another_network_is_refused_in_one_sentence(kind: str, container: str, tmp_path: Path) -> None:
    state, sentence = BAD_STATES[kind]
    if container == "torch":
        torch.save(state(), tmp_path / "weights")
    else:
        save_file({key: value.contiguous() for key, value in state().items()}, tmp_path / "weights")
    assert_refused(tmp_path / "weights", sentence)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_values_are_read_as_scipy_wrote_them(compressed: bool, tmp_path: Path) -> None:
    cells = np.empty((1, 3), dtype=object)
    cells[0, :] = ["text", np.arange(6, dtype=np.int16).reshape(2, 3), {"empty": np.zeros((0, 0)), "one": 1.5}]
    with (tmp_path / "x.mat").open("wb") as file:
        scipy.io.savemat(file, {"cells": cells, "other": 3, "word": "σ"}, do_compression=compressed)
    found = read_matlab(tmp_path / "x.mat", ("cells", "word", "missing"))
    assert found.keys() == {"cells", "word"}
    assert found["word"] == "σ"
    text, numbers, structure = found["cells"]
    assert text == "text"
    assert numbers.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert structure["empty"].size == 0
    assert structure["one"].item() == 1.5


def test_filters_in_theano_order_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "weights", "w") as file:
        file["block1_conv1/block1_conv1_W_1:0"] = np.zeros((64, 3, 3, 3), np.float32)
    assert_refused(tmp_path / "weights", r"expected \(3, 3, input channels")


def test_keras_weights_without_h5py_raise_an_error_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "weights").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    assert_refused(tmp_path / "weights", re.escape("pip install 'impasto[keras]'"))


# ---------------------------------------------------------------------------------------------------- the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IMPASTO_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file of weights."""
    FORMS["neural-style-pt"](narrow(), tmp_path / "good.pth")
    return tmp_path / "good.pth"


def test_the_cache_is_in_the_users_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMPASTO_CACHE", raising=False)
    assert weights.cache_folder().name.lower() == "impasto"
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path))
    assert weights.cache_folder() == tmp_path


def test_imported_weights_are_found(cache: Path, good: Path) -> None:
    path = import_file(good)
    assert path == cache / "vgg19.weights" == weights.find("vgg19")
    assert path.read_bytes() == good.read_bytes()
    assert json.loads((cache / "vgg19.json").read_text())["sha256"] == hashlib.sha256(good.read_bytes()).hexdigest()
    assert weights.in_cache() == ["vgg19"]


def test_vgg16_is_imported_under_its_own_name(cache: Path, tmp_path: Path) -> None:
    FORMS["torchvision"](narrow(blocks=BLOCKS_OF_VGG16), tmp_path / "vgg19.pth")
    assert import_file(tmp_path / "vgg19.pth") == cache / "vgg16.weights" == weights.find("vgg16")
    assert weights.verify("vgg16").layers == 13
    with pytest.raises(WeightsError, match="vgg19 is not on this machine"):
        weights.find("vgg19")


def test_vgg19_is_found_in_its_other_formats(cache: Path, good: Path) -> None:
    import_file(good, "vgg19-keras")
    assert weights.find("vgg19") == cache / "vgg19-keras.weights"


def test_a_published_file_is_imported_under_its_name(cache: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = entry(f"http://127.0.0.1/{good.name}", hashlib.sha256(good.read_bytes()).hexdigest()[:8])
    monkeypatch.setitem(weights.catalogue, known.name, known)
    assert import_file(good) == cache / "vgg19-test.weights"


def test_a_name_chosen_by_the_user_is_kept(cache: Path, good: Path) -> None:
    import_file(good, "my.own")
    assert weights.find("my.own") == cache / "my.own.weights"
    assert weights.verify("my.own").against == "the record of its import"


@pytest.mark.parametrize("name", ["../vgg19", "a/b", "VGG", ".hidden", "a b"])
def test_an_invalid_name_is_refused(name: str, cache: Path, good: Path) -> None:
    with pytest.raises(OptionError, match="cannot be called"):
        import_file(good, name)
    assert not cache.exists()


def test_an_invalid_file_is_not_imported(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="web page"):
        import_file(tmp_path / "bad.pth")
    assert not cache.exists()


def test_an_unwritable_cache_is_reported(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(good / "inside a file"))
    with pytest.raises(WeightsError, match="cannot be written here"):
        import_file(good)


def test_missing_weights_raise_an_error_with_the_fetch_command(cache: Path) -> None:
    with pytest.raises(WeightsError, match=re.escape("fetch it with 'impasto weights fetch vgg19' (575 MB)")) as caught:
        weights.find("vgg19")
    assert weights.catalogue["vgg19"].url in str(caught.value)


def test_an_unknown_name_is_refused_with_a_suggestion(cache: Path) -> None:
    for call in (weights.find, weights.fetch, weights.verify):
        with pytest.raises(OptionError, match="did you mean 'vgg19-keras'"):
            call("vgg19-kera")


def test_verify_describes_a_file(cache: Path, good: Path) -> None:
    import_file(good)
    found = weights.verify("vgg19")
    assert (found.path, found.layers, found.against) == (cache / "vgg19.weights", 16, "the record of its import")
    assert weights.verify(good).against == "no known hash"


def test_verify_detects_a_changed_file(cache: Path, good: Path) -> None:
    import_file(good)
    FORMS["Gatys"](narrow(), cache / "vgg19.weights")
    with pytest.raises(WeightsError, match="the file has changed since it was fetched or imported"):
        weights.verify("vgg19")


def test_a_damaged_record_is_ignored(cache: Path, good: Path) -> None:
    import_file(good)
    (cache / "vgg19.json").write_text("[]")
    assert weights.verify("vgg19").against == "no known hash"


def test_the_catalogue_is_valid() -> None:
    for name, known in weights.catalogue.items():
        assert known.name == name
        assert known.url.startswith("https://")
        assert known.licence
        assert known.sha256 or known.md5
        assert re.fullmatch(r"[0-9a-f]{8,64}", known.sha256 or "0" * 64)
    mat = weights.catalogue["vgg19-matconvnet"]
    assert mat.sha256 == "abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695"
    assert weights.catalogue["vgg19"].checked_by == "SHA-256"
    assert weights.catalogue["vgg19-caffe"].checked_by == "first 8 digits of SHA-256"
    assert weights.catalogue["vgg19-keras"].checked_by == "MD5"
    for name in ("vgg19", "vgg19-caffe", "vgg19-matconvnet", "vgg19-keras"):
        assert "19" in weights.catalogue[name].url.split("/")[-1]
        assert "16" in weights.catalogue[name.replace("19", "16")].url.split("/")[-1]


# ---------------------------------------------------------------------------------------------------- fetching


class Server(ThreadingHTTPServer):
    """Serves one file to 127.0.0.1; can cut the connection, ignore ranges, or answer with an error."""

    content = b""
    cut_after: int | None = None
    ranges = True
    status = 200
    requested: list[str | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.requested = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/vgg19.pth"


class Requests(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        requested = self.headers["Range"]
        server.requested.append(requested)
        start = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and server.ranges else 0
        if server.status != 200 or start >= len(server.content):
            self.send_error(server.status if server.status != 200 else 416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(good: Path) -> Iterator[Server]:
    with Server() as server:
        server.content = good.read_bytes()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def entry(url: str, sha256: str | None, md5: str | None = None) -> CatalogueEntry:
    return CatalogueEntry("vgg19-test", url, sha256, "MIT", 1000, "a test", "this machine", md5)


@pytest.fixture
def published(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    """A catalogue entry that the test server serves."""
    known = entry(server.url, hashlib.sha256(server.content).hexdigest())
    monkeypatch.setitem(weights.catalogue, known.name, known)
    return known


def test_fetch_downloads_and_verifies_weights(server: Server, published: CatalogueEntry, cache: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    path = weights.fetch("vgg19-test", lambda done, total: reports.append((done, total)))
    assert path == cache / "vgg19-test.weights"
    assert path.read_bytes() == server.content
    assert reports[-1] == (len(server.content), len(server.content))
    assert sorted(file.name for file in cache.iterdir()) == ["vgg19-test.json", "vgg19-test.weights"]
    assert weights.verify("vgg19-test").against == "SHA-256 of vgg19-test"
    weights.fetch("vgg19-test")
    assert server.requested == [None]


def test_fetch_resumes_an_interrupted_download(server: Server, published: CatalogueEntry, cache: Path) -> None:
    server.cut_after = 3000
    with pytest.raises(WeightsError, match=r"closed after 3000 of .*try again to resume the download"):
        weights.fetch("vgg19-test")
    assert not (cache / "vgg19-test.weights").exists()
    server.cut_after = None
    assert weights.fetch("vgg19-test").read_bytes() == server.content
    assert server.requested == [None, "bytes=3000-"]


def test_fetch_restarts_if_the_server_cannot_resume(server: Server, published: CatalogueEntry, cache: Path) -> None:
    cache.mkdir()
    (cache / "vgg19-test.part").write_bytes(b"x" * 100)
    server.ranges = False
    assert weights.fetch("vgg19-test").read_bytes() == server.content


def test_fetch_keeps_a_complete_download(server: Server, published: CatalogueEntry, cache: Path) -> None:
    cache.mkdir()
    (cache / "vgg19-test.part").write_bytes(server.content)
    assert weights.fetch("vgg19-test").read_bytes() == server.content


@pytest.mark.parametrize("sha256", ["0" * 64, "0" * 8])
def test_fetch_refuses_a_different_file(sha256: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.catalogue, "vgg19-test", entry(server.url, sha256))
    with pytest.raises(WeightsError, match="is not the published file and was deleted"):
        weights.fetch("vgg19-test")
    assert list(cache.iterdir()) == []


def test_fetch_accepts_a_truncated_published_hash(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.catalogue, "vgg19-test", entry(server.url, hashlib.sha256(server.content).hexdigest()[:8]))
    weights.fetch("vgg19-test")
    assert weights.verify("vgg19-test").against == "first 8 digits of SHA-256 of vgg19-test"


@pytest.mark.parametrize("right", [True, False])
def test_fetch_checks_md5_if_no_sha256_is_published(
    right: bool, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    md5 = hashlib.md5(server.content if right else b"", usedforsecurity=False).hexdigest()
    monkeypatch.setitem(weights.catalogue, "vgg19-test", entry(server.url, None, md5))
    if right:
        weights.fetch("vgg19-test")
        assert weights.verify("vgg19-test").against == "the record of its import"
    else:
        with pytest.raises(WeightsError, match="expected MD5"):
            weights.fetch("vgg19-test")


def test_fetch_reports_a_dead_link(server: Server, published: CatalogueEntry, cache: Path) -> None:
    server.content = b"<html>this page has moved</html>"
    with pytest.raises(WeightsError, match=r"cannot be used and was deleted: .*web page"):
        weights.fetch("vgg19-test")
    assert list(cache.iterdir()) == []


def test_fetch_explains_the_manual_download_if_the_server_fails(server: Server, published: CatalogueEntry) -> None:
    server.status = 503
    with pytest.raises(WeightsError, match=r"503 Service Unavailable.*impasto weights import FILE --name vgg19-test"):
        weights.fetch("vgg19-test")


def test_fetch_explains_the_manual_download_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as gone:
        url = gone.url
    monkeypatch.setitem(weights.catalogue, "vgg19-test", entry(url, "0" * 64))
    with pytest.raises(WeightsError, match=f"could not be fetched .*download {url} on another machine"):
        weights.fetch("vgg19-test")


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_fetch_does_not_use_the_network_if_offline(
    way: str, server: Server, published: CatalogueEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_OFFLINE", "1" if way == "environment" else "0")
    with pytest.raises(WeightsError, match=r"impasto is offline; download http.* on another machine"):
        weights.fetch("vgg19-test", offline=True if way == "argument" else None)
    assert server.requested == []


# ---------------------------------------------------------------------------------------------------- the command


def run(*tokens: str) -> None:
    app(tokens, exit_on_error=False, result_action="return_value")


def test_the_command_lists_the_catalogue(cache: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_file(good, "vgg19-keras")
    run("list")
    printed = capsys.readouterr().out
    assert all(name in printed for name in weights.catalogue)
    assert "impasto[keras]" in printed.replace("\n", "")
    assert str(cache) in printed


def test_the_command_imports_verifies_and_finds_weights(cache: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("verify")
    assert "nothing to verify" in capsys.readouterr().out
    run("import", str(good), "--name", "mine")
    run("path", "mine")
    assert capsys.readouterr().out == f"{cache / 'mine.weights'}\n" * 2
    run("path")
    assert capsys.readouterr().out == f"{cache}\n"
    run("verify")
    assert capsys.readouterr().out.startswith("mine: OK. PyTorch with torchvision's layers")


def test_the_shipped_weights_are_found_by_their_name(cache: Path, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("path", "vgg19-slim")
    run("fetch", "vgg19-slim", "--offline")
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert Path(first).is_file()
    run("verify", "vgg19-slim")
    assert capsys.readouterr().out.startswith("vgg19-slim: OK. impasto's own form, 8 bit; 16 convolutions")
    with pytest.raises(OptionError, match="which is included in impasto"):
        import_file(good, "vgg19-slim")
    assert not cache.exists()


def test_the_command_fetches_weights(
    server: Server, published: CatalogueEntry, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WeightsError, match="offline"):
        run("fetch", "vgg19-test", "--offline")
    run("fetch", "vgg19-test")
    assert capsys.readouterr().out == f"{cache / 'vgg19-test.weights'}\n"


def test_a_large_file_is_hashed_again_only_if_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_files, "_LARGE_BYTES", 4)
    counted: list[Path] = []
    monkeypatch.setattr(weight_files, "_hashed", lambda path: counted.append(path) or str(len(counted)))  # type: ignore[func-returns-value]
    path = tmp_path / "weights"
    path.write_bytes(b"large")
    assert [weight_files.sha256_of(path) for _ in range(3)] == ["1", "1", "1"]
    path.write_bytes(b"larger")
    assert weight_files.sha256_of(path) == "2"


def test_a_large_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: Callable[..., Vgg]
) -> None:
    monkeypatch.setattr(weight_files, "_LARGE_BYTES", 4)
    read, counted = weight_files.read_vgg, []
    monkeypatch.setattr(weight_files, "read_vgg", lambda path: counted.append(path) or read(path))  # type: ignore[func-returns-value]
    path = tmp_path / "weights"
    save_vgg(path, narrow(), {}, bits=16)
    encoders = [load_encoder(path, pooling=pooling) for pooling in ("max", "average", "max")]
    assert len(counted) == 1
    assert len({encoder.sha256 for encoder in encoders}) == 1
    save_vgg(path, narrow(with_heads=True), {}, bits=16)
    assert load_encoder(path).heads
    assert len(counted) == 2


def test_networks_out_of_one_large_file_do_not_share_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow: Callable[..., Vgg]
) -> None:
    monkeypatch.setattr(weight_files, "_LARGE_BYTES", 4)
    save_vgg(tmp_path / "weights", narrow(with_heads=True), {}, bits=16)
    changed = load_encoder(tmp_path / "weights")
    expected = {name: value.clone() for name, value in changed.state_dict().items()}
    for value in changed.state_dict().values():
        value.fill_(9)
    changed.to(torch.bfloat16).requires_grad_(True)
    found = load_encoder(tmp_path / "weights")
    assert not any(each.requires_grad for each in found.parameters())
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_large_file_that_is_gone_is_reported_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="these weights cannot be read"):
        weight_files.read_vgg_once(tmp_path / "weights")
