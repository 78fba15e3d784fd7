"""The pastiche: the resulting picture and the record of how it was made."""

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
from impasto.images.large import LargePicture
from impasto.optim.engine import Step
from impasto.options import INITS, PaintOptions, Run
from impasto.styles.named import NamedStyle
from impasto.tensors import Image, Mask
from impasto.weights.files import sha256_of

Record = dict[str, Any]
"""How a result was made, as plain JSON values: versions, hashes of the inputs, options, seed, steps, losses, seconds."""


@dataclass(frozen=True)
class Pastiche:
    """A finished (or interrupted) picture.

    Attributes:
        image: (1, 3, height, width), sRGB in [0, 1].
        alpha: the transparency of the content, (1, 1, height, width), or None.
        metadata: metadata of the content file, written to the result.
        record: how the picture was made; see :data:`Record`.

    Raises:
        ImageFileError: by :meth:`save` and :meth:`encoded`, if the picture cannot be written.

    Example:
        >>> import impasto
        >>> pastiche = impasto.instant("photo.jpg", "picture.jpg", size=96)
        >>> pastiche.save("painted.png")
        >>> pastiche.image.shape, pastiche.record["options"]["size"]
        (torch.Size([1, 3, 96, 96]), 96)
    """

    image: Image
    alpha: Mask | None = None
    metadata: Metadata | None = None
    record: Record = field(default_factory=dict)

    def save(
        self, path: str | Path, *, bits: Literal[8, 16] = 8, quality: int = 95, keep_gps: bool = False, with_record: bool = True
    ) -> None:
        """Write the picture to a file atomically. The suffix of the path selects the format.

        Args:
            path: the file: PNG, JPEG, WebP, TIFF, AVIF or BMP.
            bits: 8, or 16 for PNG and TIFF.
            quality: 1 to 100, for lossy formats.
            keep_gps: whether to write the photo's GPS position too.
            with_record: whether to write the record into the file.

        Raises:
            ImageFileError: if the file cannot be written.
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
        """Return the encoded file for a suffix such as ``".png"``, including the record; see :meth:`save`."""
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
    """Create the record of a run with everything that is known before the first step.

    If painting starts from a file, the record contains the hash of the file, or an empty string if the file no longer exists.
    """
    record = recorded(options.recipe, content, styles, run) | {
        "encoder": {"name": options.encoder, "sha256": encoder_sha256},
        "options": dataclasses.asdict(options),
    }
    if options.init not in INITS:
        record["init"] = described_init(Path(options.init))
    return record


def recorded(recipe: str, content: Picture | LargePicture, styles: Sequence[Picture | NamedStyle], run: Run) -> Record:
    """Return the part of the record that all recipes share: versions, pictures and run."""
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
    """Add the progress of painting to a record, and a note if painting failed."""
    notes = [*record.get("notes", []), step.failure] if step.failure else []
    return {
        **record,
        **({"notes": notes} if notes else {}),
        "steps": {"done": step.number, "planned": step.total, "scale": step.scale, "size": list(step.size)},
        "losses": {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in step.losses.items()},
        "seconds": round(step.seconds, 2),
    }


def described(style: Picture | NamedStyle) -> dict[str, str]:
    """Describe a style by its name and the hash of its file: ``sha256`` for a picture, ``file_sha256`` for a named style.

    A picture is later identified by its hash. A named style is identified by its name; the hash only shows whether it changed.
    """
    if isinstance(style, NamedStyle):
        return {"name": style.name, "kind": "named", "file_sha256": style.sha256}
    return {"name": style.name, "kind": "picture", "sha256": style.sha256}


def described_init(path: Path) -> dict[str, str]:
    """Describe an initial picture by its name and the hash of its file."""
    sha256 = ""
    with suppress(OSError):
        sha256 = sha256_of(path)
    return {"name": path.name, "sha256": sha256}
