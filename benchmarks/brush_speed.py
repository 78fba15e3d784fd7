"""Time painting with brushes in PyTorch, ONNX Runtime and OpenVINO, with random weights.

OMP_NUM_THREADS=2 python benchmarks/brush_speed.py [--layouts small full] [--sizes 512x512 1080x1920] [--repeats 7]

The engines take turns. Two times are printed in milliseconds: the shortest time of a picture, and its processor time divided by
the number of threads. The second is the time on idle cores if the work is spread evenly; it depends less on other processes.
The saved results contain the shortest times, with the time of PyTorch in float32 as the baseline.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch

from impasto.encoders.precision import has_fast_bf16
from impasto.networks.brush_engines import openvino_graph
from impasto.networks.brush_onnx import brush_graph
from impasto.networks.compiled import CompiledGraph
from impasto.networks.johnson import LAYOUTS, Johnson
from impasto.networks.onnx_precision import precise_graph
from impasto.networks.onnx_runtime import load_onnxruntime
from impasto.tensors import Image
from results import Row, begin, save

Paint = Callable[[Image], Image]


def torch_engine(network: Johnson, *, bf16: bool) -> Paint:
    def paint(photo: Image) -> Image:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            image: Image = network(photo).float().clamp(0, 1)
            return image

    return paint


def onnxruntime_engine(graph: bytes) -> Paint:
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda photo: torch.from_numpy(session.run(None, {"photo": photo.numpy()})[0])


def engines(network: Johnson, size: tuple[int, int]) -> dict[str, Paint]:
    graph = openvino_graph(network)
    int8 = precise_graph(network, "int8").SerializeToString()
    precision: Literal["fp32", "bf16"] = "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"
    return {
        "torch": torch_engine(network, bf16=precision == "bf16"),
        "torch fp32": torch_engine(network, bf16=False),
        "onnxruntime": onnxruntime_engine(brush_graph(network).SerializeToString()),
        "onnxruntime int8": onnxruntime_engine(int8),
        "openvino": CompiledGraph(graph, precision),
        "openvino fp32": CompiledGraph(graph, "fp32"),
        "openvino int8": CompiledGraph(int8, precision),
        "openvino, one size": CompiledGraph(graph, precision, size),
        "openvino int8, one size": CompiledGraph(int8, precision, size),
    }


@torch.inference_mode()
def measured(paints: dict[str, Paint], photo: Image, repeats: int) -> dict[str, tuple[float, float]]:
    """Return the shortest time and processor time of each engine, in milliseconds; the engines take turns."""
    best = dict.fromkeys(paints, (float("inf"), float("inf")))
    for name, paint in list(paints.items()) * (repeats + 1):
        clock, processor = time.perf_counter(), time.process_time()
        paint(photo)
        seconds = time.perf_counter() - clock, (time.process_time() - processor) / torch.get_num_threads()
        best[name] = (min(best[name][0], 1000 * seconds[0]), min(best[name][1], 1000 * seconds[1]))
    return best


BASELINE = "torch fp32"


def rows_of(title: str, found: dict[str, tuple[float, float]]) -> list[Row]:
    """Compare the shortest time of each engine with that of the baseline."""
    baseline = found[BASELINE][0]
    return [
        Row(f"{title}, {name}", shortest, "ms", BASELINE, baseline, shortest / baseline)
        for name, (shortest, _) in found.items()
        if name != BASELINE
    ]


def main(layouts: Iterable[str], sizes: Iterable[str], repeats: int, chosen: Sequence[str]) -> None:
    run, rows = begin(), []
    for layout in layouts:
        torch.manual_seed(0)
        network = Johnson(LAYOUTS[layout]).eval().requires_grad_(False)
        for weight in network.parameters():
            weight.data = weight.data.half().float()
        for size in sizes:
            height, width = map(int, size.split("x"))
            photo = torch.rand(1, 3, height, width)
            paints = {
                name: each
                for name, each in engines(network, (height, width)).items()
                if not chosen or name in (*chosen, BASELINE)
            }
            wanted = torch_engine(network, bf16=False)(photo)
            found = measured(paints, photo, repeats)
            rows += rows_of(f"{layout} {size}", found)
            slowest = max(processor for _, processor in found.values())
            print(f"\n{layout} {size}: ms, processor ms, times as fast as the slowest, mean difference from PyTorch in fp32")
            for name, (shortest, processor) in found.items():
                error = float((paints[name](photo) - wanted).abs().mean())
                print(f"  {name:24} {shortest:7.0f} {processor:7.0f} {slowest / processor:5.1f} {error:.4f}", flush=True)
    save(rows, run)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=["small", "medium", "full"])
    parser.add_argument("--sizes", nargs="+", default=["512x512", "1080x1920"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--engines", nargs="+", default=[], help="some of the names that are printed; all by default")
    arguments = parser.parse_args()
    main(arguments.layouts, arguments.sizes, arguments.repeats, arguments.engines)
