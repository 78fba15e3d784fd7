"""Files of VGG-19 and VGG-16 weights: read every published format (detected by content), and write impasto's own format.

No code from a file is executed: pickles are read with ``torch.load(weights_only=True)``, which only builds tensors.
"""

import hashlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from impasto.errors import WeightsError
from impasto.runtime.atomic import replacing
from impasto.weights.canonical import (
    CAFFE,
    CONVOLUTIONS,
    PIXELS,
    RGB,
    VGG16,
    Convolutions,
    Found,
    Input,
    VggWeights,
    find_vgg,
    first_convolution,
    in_rgb,
    pair_up,
    per_channel,
    reading,
    recognize_oxford,
)
from impasto.weights.matlab import read_matlab

_LARGE_BYTES = 50_000_000
"""A larger file is read and hashed only once. Otherwise, reading half a gigabyte would add a second to every picture
painted with VGG-19."""

# ---------------------------------------------------------------------------------------------------- containers


def torch_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file written by torch.save, by name, without running code from the file.

    Raises:
        WeightsError: the file contains code, or anything other than a dict of tensors. The message does not name the file.
        Exception: the file is damaged; any exception that ``torch.load`` raises.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            _refuse_other_zips(archive.namelist())
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            raise WeightsError(
                "it contains Python code, which impasto never runs; save only the network's state_dict()"
            ) from error
        raise
    for wrapper in ("state_dict", "model", "params"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise WeightsError(f"it contains a {type(loaded).__name__}, not a dict of tensors")
    return {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}


def _read_torch(path: Path) -> Found:
    return find_vgg(torch_tensors(path), "PyTorch")


def _refuse_other_zips(members: list[str]) -> None:
    if any(name.endswith("model.weights.h5") for name in members):
        raise WeightsError("this is a complete Keras model; save its weights with model.save_weights('vgg19.h5')")
    if any(name.endswith("constants.pkl") for name in members):
        raise WeightsError("this is a TorchScript program; save only the network's state_dict()")
    if not any(name.endswith("data.pkl") for name in members):
        raise WeightsError("this is a zip archive that was not written by torch.save")


def _read_safetensors(path: Path) -> Found:
    with safe_open(path, "pt") as file:
        wanted = (key for key in file.keys() if not key.startswith(("classifier", "pre_logits", "head.")))  # noqa: SIM118
        return find_vgg({key: file.get_tensor(key) for key in wanted}, "safetensors")


def _read_matlab(path: Path) -> Found:
    """Read MatConvNet's file, in the old or the new layout."""
    found = read_matlab(path, ("layers", "meta", "normalization", "net"))
    network = found.get("net", found)
    if not isinstance(network, dict) or "layers" not in network:
        raise WeightsError("this MATLAB file contains no layers; use MatConvNet's imagenet-vgg-verydeep-19.mat or -16.mat")
    convolutions = {layer["name"][4:]: _matlab_pair(layer) for layer in network["layers"] if _is_convolution(layer)}
    normalization = network["normalization"] if "normalization" in network else network["meta"]["normalization"]
    average = np.asarray(normalization["averageImage"], dtype=np.float64).reshape(-1, 3).mean(0) / 255
    mean = (float(average[0]), float(average[1]), float(average[2]))
    return _matlab_reading(convolutions, Input("RGB from 0 to 255", RGB, mean, PIXELS))


def _is_convolution(layer: Any) -> bool:
    return isinstance(layer, dict) and re.fullmatch(r"conv\d_\d", str(layer.get("name"))) is not None


def _matlab_pair(layer: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    filters, bias = layer["weights"] if "weights" in layer else (layer["filters"], layer["biases"])
    return _from_height_width(filters), _tensor(bias).reshape(-1)


def _matlab_reading(convolutions: Convolutions, wanted: Input) -> Found:
    """Convert MatConvNet's layers; if filters of Oxford's network are width x height, transpose them to height x width."""
    oxford = recognize_oxford(*first_convolution(convolutions))
    if oxford and oxford[1]:
        convolutions = {name: (weight.transpose(2, 3), bias) for name, (weight, bias) in convolutions.items()}
    return in_rgb(convolutions, wanted, f"MatConvNet (.mat), which reads {wanted.name}")


def _read_keras(path: Path) -> Found:
    try:
        import h5py
    except ImportError as error:
        raise WeightsError("Keras weights need h5py; install it with pip install 'impasto[keras]'") from error
    named: dict[str, dict[str, Tensor]] = {}

    def visit(key: str, value: object) -> None:
        match = re.fullmatch(r"(?!.*optimizer).*block(\d)_conv(\d)/.*", key)
        if match and isinstance(value, h5py.Dataset):
            name = f"{match[1]}_{match[2]}"
            part = _from_height_width(value[()]) if value.ndim == 4 else _tensor(value[()])
            named.setdefault(name, {})["weight" if value.ndim == 4 else "bias"] = part

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if not named:
        raise WeightsError("it contains no layer named like block1_conv1, as in Keras's VGG-19 and VGG-16")
    return reading(pair_up(named), "Keras (.h5)", CAFFE)


def _from_height_width(filters: npt.NDArray[Any]) -> Tensor:
    """Convert filters (height, width, in, out) to (out, in, height, width)."""
    if filters.ndim != 4 or filters.shape[:2] != (3, 3):
        raise WeightsError(f"its filters have shape {filters.shape}; expected (3, 3, input channels, output channels)")
    return _tensor(filters.transpose(3, 2, 0, 1))


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


# ---------------------------------------------------------------------------------------------------- reading


def read_vgg(path: str | Path) -> VggWeights:
    """Read the weights of a VGG-19 or VGG-16 from a file in any published format.

    The supported formats are torchvision's ``.pth`` (with or without classifier), the ``.pth`` of neural-style-pt, Gatys'
    ``vgg_conv.pth``, AdaIN's ``vgg_normalised.pth``, MatConvNet's ``imagenet-vgg-verydeep-19.mat`` and ``-16.mat``, Keras's
    ``.h5``, safetensors with the tensor names of any of these, and impasto's own format. Format and network are detected from
    the content; the file name does not matter, and no code in the file is executed.

    Args:
        path: the file.

    Returns:
        The weights in canonical form, float32, on the CPU.

    Raises:
        WeightsError: the file is missing, damaged or unsafe, or contains another network; the message says which.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("vgg19.pth").write_text("<html>404</html>")
        >>> read_vgg("vgg19.pth")
        Traceback (most recent call last):
        impasto.errors.WeightsError: vgg19.pth: this is a web page, not weights; ...
    """
    path = Path(path)
    reader = _reader(path)
    try:
        found = reader(path)
        _check(found)
        return VggWeights(
            convolutions={name: found.convolutions[name] for name in CONVOLUTIONS if name in found.convolutions},
            heads=found.heads,
            mean=found.mean,
            std=found.std,
            form=found.form,
            sha256=sha256_of(path),
        )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    # A reader can raise any exception on a damaged file; it is chained as the cause.
    except Exception as error:
        raise WeightsError(f"{path}: the file is damaged or truncated; fetch it again ({_first_line(error)})") from error


def read_vgg_once(path: Path) -> VggWeights:
    """Read weights like :func:`read_vgg`, but read an unchanged large file only once.

    Callers share the tensors and must not change them.
    """
    try:
        facts = _facts(path)
    except OSError:
        return read_vgg(path)  # raises an error that says why it cannot be read
    return read_vgg(path) if facts.size < _LARGE_BYTES else _read_once(path, facts)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; computed once for a large file that does not change."""
    facts = _facts(path)
    return _hashed(path) if facts.size < _LARGE_BYTES else _hashed_once(path, facts)


class _Facts(NamedTuple):
    """The facts that show whether a file has changed, without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int


def _facts(path: Path) -> _Facts:
    found = path.stat()
    return _Facts(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2)
def _read_once(path: Path, facts: _Facts) -> VggWeights:
    return read_vgg(path)


@lru_cache(maxsize=16)
def _hashed_once(path: Path, facts: _Facts) -> str:
    return _hashed(path)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


FileKind = Literal["torch", "safetensors", "keras", "matlab", "other"]
_SIGNATURES: tuple[tuple[bytes, FileKind], ...] = (
    (b"PK\x03\x04", "torch"),
    (b"\x80\x02", "torch"),
    (b"\x89HDF\r\n\x1a\n", "keras"),
    (b"MATLAB 5.0", "matlab"),
)
_READERS: Mapping[FileKind, Callable[[Path], Found]] = {
    "torch": _read_torch,
    "safetensors": _read_safetensors,
    "keras": _read_keras,
    "matlab": _read_matlab,
}
_PICKLE = "this is a pickle that was not written by torch.save; it could contain Python code, which impasto never runs"
_REFUSED = (
    (b"version https://git-lfs", "this is a Git LFS pointer, not the file; run 'git lfs pull' in its repository"),
    (b"<", "this is a web page, not weights; the download link is dead or needs a login"),
    (b"MATLAB 7.3", "this is a MATLAB 7.3 file; save it again with '-v7'"),
    (b"\x04\x00\x00\x00\x01\x00\x00\x00", "this is a Torch 7 file; convert it to PyTorch, or fetch another format"),
    *((bytes([0x80, protocol]), _PICKLE) for protocol in (3, 4, 5)),
    (b"\x93NUMPY", "this is a NumPy file with a pickle inside; save the weights as safetensors"),
)
_KNOWN = "supported are PyTorch (.pth), safetensors, MatConvNet (.mat) and Keras (.h5)"


def _reader(path: Path) -> Callable[[Path], Found]:
    """Choose a reader by the first bytes of a file."""
    kind = file_kind(path)
    if kind == "other":
        raise WeightsError(f"{path}: this is not a weight file in a supported format; {_KNOWN}")
    return _READERS[kind]


def file_kind(path: Path) -> FileKind:
    """Recognize a weight file by its first bytes; "other" if they are not known.

    Raises:
        WeightsError: the file cannot be read, is empty, or is of a kind that is never read, such as a web page.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(f"{path}: these weights cannot be read: {(error.strerror or str(error)).lower()}") from error
    if size == 0:
        raise WeightsError(f"{path}: this file is empty; fetch it again")
    # A safetensors file starts with the length of its header, which can look like any of the signatures below.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
        return "safetensors"
    for signature, sentence in _REFUSED:
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(signature) or start.startswith(signature):
            raise WeightsError(f"{path}: {sentence}")
    if start[257:262] == b"ustar":
        raise WeightsError(f"{path}: this is a tar archive, written by an old PyTorch, and cannot be read safely")
    otherwise: FileKind = "safetensors" if start[8:9] == b"{" else "other"  # a truncated file is shorter than its header
    return next((kind for signature, kind in _SIGNATURES if start.startswith(signature)), otherwise)


def _check(found: Found) -> None:
    """Raise unless the layers are the first ones of VGG-19 or VGG-16, without gaps, and all values are finite."""
    names = tuple(name for name in CONVOLUTIONS if name in found.convolutions)
    whole = names in (CONVOLUTIONS[: len(names)], VGG16[: len(names)])
    if len(names) < len(found.convolutions) or not whole:
        raise WeightsError("some layers in between are missing")
    if "4_1" not in names:  # too few layers to paint with
        raise WeightsError(f"it ends at conv{names[-1]}; it must be a VGG-19 or VGG-16 up to conv4_1 or further")
    channels = 3
    for name in names:
        weight, bias = found.convolutions[name]
        width = len(weight)
        if tuple(weight.shape) != (width, channels, 3, 3) or tuple(bias.shape) != (width,):
            shape = "x".join(map(str, weight.shape))
            raise WeightsError(f"the filters of conv{name} have shape {shape}; expected {width}x{channels}x3x3")
        channels = width
    for tensor in _all_tensors(found):
        if not torch.isfinite(tensor).all():
            raise WeightsError("some of its weights are not finite numbers; fetch it again")


def _all_tensors(found: Found) -> Iterator[Tensor]:
    yield from (found.mean, found.std)
    for pair in (*found.convolutions.values(), *found.heads.values()):
        yield from pair


# ---------------------------------------------------------------------------------------------------- writing


def save_vgg(path: str | Path, vgg: nn.Module, metadata: Mapping[str, str], *, bits: Literal[8, 16] = 8) -> None:
    """Write a network in impasto's own format, which is small and safe; :func:`read_vgg` reads it back.

    The keys are those of the network's state_dict. With 8 bits, each weight is stored as int8, quantized symmetrically with one
    scale per output channel (``NAME.scale``, float32); the error is at most half the scale. Mean, deviation and biases stay
    float32.

    Args:
        path: the file, written atomically.
        vgg: an :class:`impasto.encoders.vgg.Vgg`.
        metadata: metadata for the file header: licence, origin, metrics.
        bits: 8, or 16 for float16.

    Raises:
        WeightsError: the file cannot be written.

    Example:
        >>> from impasto.encoders import Vgg
        >>> save_vgg("narrow.safetensors", Vgg((4, 4, 8, 8, 8)), {"licence": "MIT"})
        >>> read_vgg("narrow.safetensors").form
        "impasto's own form, 8 bit"
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for key, value in vgg.state_dict().items():
        value = value.detach().cpu().float().contiguous()
        if not key.endswith(".weight"):
            tensors[key] = value
        elif bits == 16:
            tensors[key] = value.half()
        else:
            tensors[key], tensors[key.removesuffix("weight") + "scale"] = _to_8_bit(value)
    try:
        with replacing(path) as partial:
            save_file(tensors, partial, {"format": "impasto", **metadata})
    except Exception as error:
        raise WeightsError(f"{path}: these weights cannot be written: {_first_line(error)}") from error


def _to_8_bit(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a weight (out, ...) to int8; return it with its scale (out,)."""
    scale = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    return (weight / per_channel(scale, weight)).round().to(torch.int8), scale
