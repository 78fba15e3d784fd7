"""The result: a picture, and the record of how it came about."""

import dataclasses
import math
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from impasto import images
from impasto._version import __version__
from impasto.images import Metadata, Picture
from impasto.optim.engine import Step
from impasto.options import INITS, PaintOptions, Run
from impasto.styles.named import NamedStyle
from impasto.tensors import Image, Mask
from impasto.weights.files import sha256_of

Record = dict[str, Any]
"""How a result came about, as plain JSON values: versions, hashes of what went in, options, seed, steps, losses, seconds."""


@dataclass(frozen=True)
class Pastiche:
    """A finished (or interrupted) picture.

    Attributes:
        image: (1, 3, height, width), sRGB in [0, 1].
        alpha: the content's transparency, (1, 1, height, width), or None.
        metadata: what the content's file said about itself and is written back.
        record: how it came about; see :data:`Record`.
    """

    image: Image
    alpha: Mask | None = None
    metadata: Metadata | None = None
    record: Record = field(default_factory=dict)

    def save(
        self, path: str | Path, *, bits: Literal[8, 16] = 8, quality: int = 95, keep_gps: bool = False, with_record: bool = True
    ) -> None:
        """Write the picture, in one step or not at all; the suffix of the path decides the format.

        Args:
            path: where to; PNG, JPEG, WebP, TIFF, AVIF or BMP.
            bits: 8, or 16 for PNG and TIFF.
            quality: 1 to 100, of formats that lose.
            keep_gps: whether the place where the photo was taken is written back too.
            with_record: whether the record goes into the file.

        Raises:
            ImageFileError: if it cannot be written there.
        """
        images.write(
            path,
            self.image,
            alpha=self.alpha,
            metadata=self.metadata,
            record=self.record if with_record else None,
            keep_gps=keep_gps,
            bits=bits,
            quality=quality,
        )

    def encoded(self, suffix: str, *, bits: Literal[8, 16] = 8, quality: int = 95, keep_gps: bool = False) -> bytes:
        """Return the bytes of a file of a format, such as ``".png"``, with the record in it; see :meth:`save`."""
        return images.encode(
            f"pastiche{suffix}",
            self.image,
            alpha=self.alpha,
            metadata=self.metadata,
            record=self.record,
            keep_gps=keep_gps,
            bits=bits,
            quality=quality,
        )


def new_record(
    content: Picture, styles: Sequence[Picture | NamedStyle], options: PaintOptions, run: Run, encoder_sha256: str
) -> Record:
    """Begin the record of a run: everything that is known before the first step.

    Where painting starts from a file, its hash is taken here; it is empty if the file has been taken away meanwhile.
    """
    record = recorded(options.recipe, content, styles, run) | {
        "encoder": {"name": options.encoder, "sha256": encoder_sha256},
        "options": dataclasses.asdict(options),
    }
    if options.init not in INITS:
        record["init"] = described_init(Path(options.init))
    return record


def recorded(recipe: str, content: Picture, styles: Sequence[Picture | NamedStyle], run: Run) -> Record:
    """Return what the record of every recipe begins with: versions, pictures, where it ran."""
    return {
        "impasto": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "recipe": recipe,
        "content": {"name": content.name, "sha256": content.sha256},
        "styles": [described(style) for style in styles],
        "run": dataclasses.asdict(run),
    }


def with_progress(record: Mapping[str, Any], step: Step) -> Record:
    """Add to a record how far painting came, and whether it failed."""
    notes = [*record.get("notes", []), step.failure] if step.failure else []
    return {
        **record,
        **({"notes": notes} if notes else {}),
        "steps": {"done": step.number, "planned": step.total, "scale": step.scale, "size": list(step.size)},
        "losses": {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in step.losses.items()},
        "seconds": round(step.seconds, 2),
    }


def described(style: Picture | NamedStyle) -> dict[str, str]:
    """Describe a style by its name and the hash of its file: of a picture as ``sha256``, of statistics as ``file_sha256``.

    A picture is found again by its hash, a named style by its name; its hash only tells whether it is still the same.
    """
    if isinstance(style, NamedStyle):
        return {"name": style.name, "kind": "named", "file_sha256": style.sha256}
    return {"name": style.name, "kind": "picture", "sha256": style.sha256}


def described_init(path: Path) -> dict[str, str]:
    """Describe the picture that painting starts from by its name and the hash of its file."""
    sha256 = ""
    with suppress(OSError):
        sha256 = sha256_of(path)
    return {"name": path.name, "sha256": sha256}
