"""Networks of other programs give the pictures of these programs, and nothing in their files is executed."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from impasto.errors import WeightsError
from impasto.networks.brush_files import brush_facts, load_brush, save_brush
from impasto.networks.foreign_brushes import is_foreign

WIDTH, BLOCKS = 4, 2
Array = npt.NDArray[np.float64]


def noise(*shape: int, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


# ---------------------------------------------------------------------------------------------------- pytorch/examples


def pytorch_state(width: int = WIDTH, blocks: int = BLOCKS) -> dict[str, torch.Tensor]:
    """Make a state dict with the names and shapes of fast_neural_style."""
    full, half, quarter = width, 2 * width, 4 * width
    convolutions = {
        "conv1": (full, 3, 9),
        "conv2": (half, full, 3),
        "conv3": (quarter, half, 3),
        **{f"res{i}.conv{j}": (quarter, quarter, 3) for i in range(1, blocks + 1) for j in (1, 2)},
        "deconv1": (half, quarter, 3),
        "deconv2": (full, half, 3),
        "deconv3": (3, full, 9),
    }
    norms = {"in1": full, "in2": half, "in3": quarter, "in4": half, "in5": full}
    norms |= {f"res{i}.in{j}": quarter for i in range(1, blocks + 1) for j in (1, 2)}
    found = {}
    for seed, (name, (out, into, side)) in enumerate(convolutions.items()):
        found[f"{name}.conv2d.weight"] = noise(out, into, side, side, seed=seed, spread=(into * side * side) ** -0.5)
        found[f"{name}.conv2d.bias"] = noise(out, seed=seed, spread=0.1)
    for seed, (name, channels) in enumerate(norms.items()):
        found |= {f"{name}.weight": 1 + noise(channels, seed=seed, spread=0.2), f"{name}.bias": noise(channels, seed=seed)}
    found["deconv3.conv2d.weight"] *= 60
    found["deconv3.conv2d.bias"] = torch.tensor([100.0, 120.0, 140.0])
    return found


def pytorch_painted(state: dict[str, torch.Tensor], photo: torch.Tensor) -> torch.Tensor:
    """Run fast_neural_style's network, written anew: pixels from 0 to 255 in and out."""

    def convolution(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.conv2d.weight"]
        return F.conv2d(F.pad(x, [weight.shape[-1] // 2] * 4, "reflect"), weight, state[f"{name}.conv2d.bias"], stride)

    def normalized(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"], eps=1e-5)

    x = 255 * photo
    for number, stride in enumerate((1, 2, 2), 1):
        x = normalized(convolution(x, f"conv{number}", stride), f"in{number}").relu()
    for number in range(1, BLOCKS + 1):
        inner = normalized(convolution(x, f"res{number}.conv1"), f"res{number}.in1").relu()
        x = x + normalized(convolution(inner, f"res{number}.conv2"), f"res{number}.in2")
    for number in (1, 2):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = normalized(convolution(x, f"deconv{number}"), f"in{number + 3}").relu()
    return convolution(x, "deconv3") / 255


OLD = {"in1.running_mean": torch.zeros(WIDTH), "in1.running_var": torch.ones(WIDTH), "res1.in1.running_mean": torch.zeros(16)}


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("candy.pth", lambda state, path: torch.save(state, path)),
        ("old.model", lambda state, path: torch.save(state | OLD, path, _use_new_zipfile_serialization=False)),
        ("wrapped.pth", lambda state, path: torch.save({"state_dict": state, "epoch": 2}, path)),
        ("parallel.pth", lambda state, path: torch.save({f"module.{key}": value for key, value in state.items()}, path)),
        ("candy.safetensors", lambda state, path: save_file(state, path)),
    ],
)
def test_a_state_dict_of_pytorch_examples_paints_as_there(
    name: str, save: Callable[[dict[str, torch.Tensor], Path], None], tmp_path: Path
) -> None:
    state, photo = pytorch_state(), torch.rand(1, 3, 32, 44, generator=torch.Generator().manual_seed(0))
    save(state, tmp_path / name)
    wanted = pytorch_painted(state, photo)
    assert wanted.std() > 0.1
    assert (load_brush(tmp_path / name)(photo) - wanted).abs().max() < 1e-3
    facts = brush_facts(tmp_path / name)
    assert facts == {"name": name.split(".")[0], "program": "fast_neural_style of pytorch/examples"}


# ---------------------------------------------------------------------------------------------------- lengstrom


def tensorflow_variables(width: int = WIDTH, blocks: int = BLOCKS) -> dict[str, torch.Tensor]:
    """Make the variables of fast-style-transfer, in the order of its graph: filters, shift and scale of each layer."""
    full, half, quarter = width, 2 * width, 4 * width
    filters = [(9, 9, 3, full), (3, 3, full, half), (3, 3, half, quarter), *[(3, 3, quarter, quarter)] * (2 * blocks)]
    filters += [(3, 3, half, quarter), (3, 3, full, half), (9, 9, full, 3)]  # transposed filters are (..., out, in)
    outs = [full, half, quarter, *[quarter] * (2 * blocks), half, full, 3]
    values = []
    for seed, (shape, out) in enumerate(zip(filters, outs, strict=True)):
        values += [
            noise(*shape, seed=seed, spread=0.1),
            noise(out, seed=seed, spread=0.3),
            1 + noise(out, seed=seed, spread=0.2),
        ]
    return {f"Variable_{index}" if index else "Variable": value for index, value in enumerate(values)}


def same(size: int, side: int, stride: int) -> tuple[int, int, int]:
    """Return TensorFlow's output size and padding before and after for padding "SAME"."""
    out = -(-size // stride)
    total = max((out - 1) * stride + side - size, 0)
    return out, total // 2, total - total // 2


def correlated(x: Array, filters: Array, stride: int) -> Array:
    """tf.nn.conv2d with padding "SAME", for x of (height, width, in)."""
    side = len(filters)
    (rows, top, bottom), (columns, left, right) = (same(size, side, stride) for size in x.shape[:2])
    x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    found = np.zeros((rows, columns, filters.shape[3]))
    for i in range(side):
        for j in range(side):
            found += x[i : i + stride * rows : stride, j : j + stride * columns : stride][:rows, :columns] @ filters[i, j]
    return found


def transposed(x: Array, filters: Array, stride: int) -> Array:
    """tf.nn.conv2d_transpose with padding "SAME": the transpose of the linear map :func:`correlated`."""
    side, (rows, columns) = len(filters), (stride * size for size in x.shape[:2])
    (_, top, bottom), (_, left, right) = (same(size, side, stride) for size in (rows, columns))
    found = np.zeros((rows + top + bottom, columns + left + right, filters.shape[2]))
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            found[stride * i : stride * i + side, stride * j : stride * j + side] += filters @ x[i, j]
    return found[top : top + rows, left : left + columns]


def tensorflow_painted(variables: dict[str, torch.Tensor], photo: torch.Tensor, blocks: int = BLOCKS) -> Array:
    """Run fast-style-transfer's network in NumPy: pixels from 0 to 255 in and out; (height, width, 3)."""
    values = iter(value.double().numpy() for value in variables.values())

    def layer(x: Array, stride: int = 1, operation: Callable[[Array, Array, int], Array] = correlated) -> Array:
        x, shift, scale = operation(x, next(values), stride), next(values), next(values)
        return scale * (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3) + shift

    x = 255 * photo[0].permute(1, 2, 0).double().numpy()
    for stride in (1, 2, 2):
        x = np.maximum(layer(x, stride), 0)
    for _ in range(blocks):
        x = x + layer(np.maximum(layer(x), 0))
    for _ in range(2):
        x = np.maximum(layer(x, 2, transposed), 0)
    return (np.tanh(layer(x)) * 150 + 127.5) / 255


def test_variables_of_lengstrom_paint_like_tensorflow(tmp_path: Path) -> None:
    variables, photo = tensorflow_variables(), torch.rand(1, 3, 24, 36, generator=torch.Generator().manual_seed(0))
    others = {"Variable/Adam": torch.zeros(4), "beta1_power": torch.zeros(1)}
    save_file(variables | others, tmp_path / "wave.safetensors")
    wanted = tensorflow_painted(variables, photo)
    assert wanted.std() > 0.1
    found = load_brush(tmp_path / "wave.safetensors")(photo)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - wanted).max() < 1e-3
    assert brush_facts(tmp_path / "wave.safetensors")["program"] == "fast-style-transfer of lengstrom"


def test_lengstroms_own_size_has_48_variables(tmp_path: Path) -> None:
    variables = tensorflow_variables(width=32, blocks=5)
    assert len(variables) == 48
    save_file(variables, tmp_path / "wave.safetensors")
    layout = load_brush(tmp_path / "wave.safetensors").layout
    assert (layout.width, layout.blocks, layout.ends, layout.epsilon) == (32, 5, 9, 1e-3)


@pytest.mark.parametrize("make", [pytorch_state, tensorflow_variables])
def test_a_converted_network_paints_like_the_original(make: Callable[[], dict[str, torch.Tensor]], tmp_path: Path) -> None:
    save_file(make(), tmp_path / "a.safetensors")
    network = load_brush(tmp_path / "a.safetensors")
    save_brush(tmp_path / "a.brush", network, brush_facts(tmp_path / "a.safetensors"))
    assert not is_foreign(tmp_path / "a.brush")
    photo = torch.rand(1, 3, 32, 44, generator=torch.Generator().manual_seed(0))
    assert (load_brush(tmp_path / "a.brush")(photo) - network(photo)).abs().max() < 0.02  # float16


# ---------------------------------------------------------------------------------------------------- other files


class _Code:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def write_code(path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps({"conv1.conv2d.weight": _Code(path.with_name("executed"))}, protocol=protocol))


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def saved_and_cut(path: Path, *, is_zip: bool) -> None:
    torch.save(pytorch_state(), path, _use_new_zipfile_serialization=is_zip)
    cut(path)


def without(name: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key != name}


OTHERS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "web page": lambda path: path.write_text("<html>404</html>"),
    "text": lambda path: path.write_text("hello"),
    "vgg": lambda path: torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path),
    "lora": lambda path: save_file({"lora_unet_down.lora_up.weight": torch.zeros(4, 4)}, path),
    "no tensors": lambda path: torch.save({}, path),
    "a tensor": lambda path: torch.save(torch.zeros(4), path),
    "a list": lambda path: path.write_bytes(pickle.dumps([1, 2], protocol=2)),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "text pickle": lambda path: write_code(path, 0),
    "code": lambda path: write_code(path, 2),
    "newer code": lambda path: write_code(path, 4),
    "code in zip": lambda path: torch.save({"conv1.conv2d.weight": _Code(path.with_name("executed"))}, path),
    "module": lambda path: torch.save(torch.nn.Conv2d(3, 3, 3), path),
    "cut zip": lambda path: saved_and_cut(path, is_zip=True),
    "cut": lambda path: saved_and_cut(path, is_zip=False),
    "a layer missing": lambda path: torch.save(without("in3.weight", pytorch_state()), path),
    "a layer too many": lambda path: torch.save(pytorch_state() | {"conv4.conv2d.weight": torch.zeros(1)}, path),
    "another name": lambda path: torch.save(pytorch_state() | {"head.weight": torch.zeros(1)}, path),
    "another shape": lambda path: torch.save(pytorch_state() | {"conv2.conv2d.weight": torch.zeros(1, 2, 3, 3)}, path),
    "another rank": lambda path: torch.save(pytorch_state() | {"conv1.conv2d.weight": torch.zeros(3)}, path),
    "huge": lambda path: torch.save(pytorch_state() | {"conv1.conv2d.weight": torch.zeros(1).expand(10**9, 3, 9, 9)}, path),
    "huge norm": lambda path: torch.save(pytorch_state() | {"in2.weight": torch.zeros(1).half().expand(10**12)}, path),
    "nan": lambda path: torch.save(pytorch_state() | {"in1.weight": torch.full((WIDTH,), torch.nan)}, path),
    "a variable missing": lambda path: save_file(without("Variable_3", tensorflow_variables()), path),
    "swapped variables": lambda path: save_file(tensorflow_variables() | {"Variable_3": torch.zeros(8)}, path),
    "cut safetensors": lambda path: (save_file(tensorflow_variables(), path), cut(path)),
    "cut header": lambda path: (save_file(tensorflow_variables(), path), cut(path, 0.01)),
}


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("suffix", [".pth", ".brush"])
def test_any_other_file_is_refused_in_one_sentence_and_no_code_runs(what: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"network{suffix}"
    OTHERS[what](path)
    for read in (load_brush, brush_facts):
        with pytest.raises(WeightsError) as caught:
            read(path)
        message = str(caught.value)
        assert str(path) in message
        assert message.count(str(path)) == 1
        assert "\n" not in message
    assert not (tmp_path / "executed").exists()


def test_the_code_of_the_test_would_run_if_unpickled(tmp_path: Path) -> None:
    write_code(tmp_path / "network.pth", 2)
    pickle.loads((tmp_path / "network.pth").read_bytes())  # noqa: TID251
    assert (tmp_path / "executed").exists()
