"""Find the shared benchmark data, and load the evaluation script, which measures with the full VGG-19."""

import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

FIGURES = ("style_closed", "content", "ssim", "ssim_coarse", "grid", "frame", "chroma_noise")
CONTENTS = ("bird", "bridge", "girl", "retriever", "shore", "summit", "surf", "walker")
STYLES = ("delacroix", "gauguin", "monet", "renoir", "serusier", "seurat", "tuscan", "vallotton")


def shared() -> Path:
    """Return the folder of benchmark data: IMPASTO_SHARED, or `shared` next to the repository."""
    folder = Path(os.environ.get("IMPASTO_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not folder.is_dir():
        sys.exit("the folder of benchmark data was not found; set IMPASTO_SHARED to its path")
    return folder


def judge() -> ModuleType:
    """Load the evaluation script."""
    spec = importlib.util.spec_from_file_location("judge", shared() / "judge" / "judge.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peers() -> dict[str, Any]:
    """Return the figures of other programs, measured with the same script."""
    return json.loads((shared() / "judge" / "peers.json").read_text())  # type: ignore[no-any-return]


def pairs(kind: str) -> list[tuple[str, str]]:
    """Return pairs of content and style: `diagonal` (8), `half` (32) or `all` (64)."""
    shifts = {"diagonal": (0,), "half": (1, 3, 5, 7), "all": range(8)}[kind]
    return [(CONTENTS[i], STYLES[(i + shift) % 8]) for shift in shifts for i in range(8)]


def content(name: str) -> Path:
    """Return the path of a photo of the devset."""
    return shared() / "devset" / "content" / f"{name}.jpg"


def style(name: str) -> Path:
    """Return the path of a painting of the devset."""
    return shared() / "devset" / "style" / f"{name}.jpg"


def medians(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the median of each figure over some rows."""
    rows = list(rows)
    return {figure: statistics.median(float(row[figure]) for row in rows) for figure in FIGURES}


def table(named: Mapping[str, Mapping[str, float]]) -> str:
    """Format rows of figures as a Markdown table."""
    lines = ["| | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[figure]:.3f}" for figure in FIGURES) + " |" for name, row in named.items()]
    return "\n".join(lines)
