"""Named styles: a manner as statistics, not as a picture.

A style file holds, for a few sizes of the picture it was measured on, the mean and the covariance of the features of
``vgg19-slim`` at each style layer. A covariance is kept as its strongest directions and a remainder on the diagonal. From
such a file no picture can be drawn again, and it is a few hundred kilobytes.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from impasto.errors import OptionError, StyleFileError, nearest_name
from impasto.stats import Moments
from impasto.weights.files import sha256_of

VERSION = "1"
SUFFIX = ".style.safetensors"
SIZES = (128, 256, 512, 1024)
_RANK = 48
_FACTS = ("name", "title", "artist", "date", "source", "licence", "encoder_sha256")


@dataclass(frozen=True)
class NamedStyle:
    """A style by name.

    Attributes:
        facts: name, title, artist, date, source, licence of the picture it was measured on, and encoder_sha256.
        moments: by longer side in pixels, then by layer: moments in the channels of vgg19-slim, before its heads.
        colours: mean (1, 3) and covariance (1, 3, 3) of the picture's colours.
        sha256: of the file it was read from; empty where it came from none.
    """

    facts: Mapping[str, str]
    moments: Mapping[int, Mapping[str, Moments]]
    colours: Moments
    sha256: str = ""

    @property
    def name(self) -> str:
        """The name it is called by."""
        return self.facts["name"]

    def at(self, edge_px: float, layers: Sequence[str]) -> dict[str, Moments]:
        """Return the moments that the style has with a longer side of edge_px, between the sizes it was measured at.

        Raises:
            OptionError: if a layer was not measured.
        """
        sizes = sorted(self.moments)
        known = self.moments[sizes[0]]
        for layer in layers:
            if layer not in known:
                raise OptionError(
                    f"style {self.name!r} was not measured at layer {layer!r} but at {', '.join(known)}; "
                    "use those layers, or give a picture"
                )
        below = max([size for size in sizes if size <= edge_px], default=sizes[0])
        above = min([size for size in sizes if size >= edge_px], default=sizes[-1])
        share = 0.0 if above == below else math.log(edge_px / below) / math.log(above / below)
        return {layer: _between(self.moments[below][layer], self.moments[above][layer], share) for layer in layers}


def measured_style(
    facts: Mapping[str, str], measure: Callable[[int], Mapping[str, Moments]], colours: Moments, sizes: Sequence[int] = SIZES
) -> NamedStyle:
    """Measure a style at several sizes.

    Args:
        facts: name, title, artist, date, source, licence, encoder_sha256; what is missing is left empty.
        measure: returns the moments by layer of the picture at a longer side in pixels.
        colours: moments of the picture's colours.
        sizes: longer sides to measure at.
    """
    return NamedStyle({fact: facts.get(fact, "") for fact in _FACTS}, {size: measure(size) for size in sizes}, colours)


def save_style(path: str | Path, style: NamedStyle) -> None:
    """Write a style file, in one step or not at all."""
    path = Path(path)
    tensors: dict[str, Tensor] = {"colours.mean": style.colours.mean, "colours.covariance": style.colours.covariance}
    for size, layers in style.moments.items():
        for layer, moments in layers.items():
            factor, diagonal = _compressed(moments.covariance[0])
            tensors |= {
                f"{size}.{layer}.mean": moments.mean[0].half(),
                f"{size}.{layer}.factor": factor.half(),
                f"{size}.{layer}.diagonal": diagonal,  # variances can be beyond what a half holds
            }
    partial = path.with_name(path.name + ".part")
    try:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial, {"impasto_style": VERSION, **style.facts})
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        partial.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise StyleFileError(f"style file {str(path)!r} cannot be written: {why}; choose another place") from error


def load_style(path: str | Path) -> NamedStyle:
    """Read a style file.

    Raises:
        StyleFileError: if the file is missing, damaged or of another version.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        sha256 = sha256_of(path)
    except FileNotFoundError as error:
        raise StyleFileError(f"style file {str(path)!r} is not there; see impasto styles list") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged or not a style file; make it again") from error
    version = facts.pop("impasto_style", None)
    if version != VERSION:
        raise StyleFileError(
            f"style file {str(path)!r} is of version {version}, this impasto reads version {VERSION}; make it again"
        )
    try:
        return _from_tensors(facts, tensors, sha256)
    except (KeyError, ValueError, RuntimeError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged: {json.dumps(str(error))}; make it again") from error


def shipped_styles() -> dict[str, Path]:
    """Return the styles that come with impasto: files by name."""
    folder = Path(str(files("impasto") / "data" / "styles"))
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find_style(name: str) -> NamedStyle:
    """Load a style by its name.

    Raises:
        OptionError: if there is no style of that name; the sentence tells the nearest.
    """
    known = shipped_styles()
    if name not in known:
        raise OptionError(f"style {name!r} is neither a picture file nor a named style{nearest_name(name, known)}")
    return load_style(known[name])


def _from_tensors(facts: Mapping[str, str], tensors: Mapping[str, Tensor], sha256: str) -> NamedStyle:
    moments: dict[int, dict[str, Moments]] = {}
    for key in tensors:
        if key.endswith(".factor"):
            size, layer, _ = key.split(".")
            factor, diagonal = tensors[key], tensors[f"{size}.{layer}.diagonal"]
            covariance = factor @ factor.T + torch.diag(diagonal)
            moments.setdefault(int(size), {})[layer] = Moments(tensors[f"{size}.{layer}.mean"][None], covariance[None])
    if not moments:
        raise ValueError("no statistics inside")
    colours = Moments(tensors["colours.mean"], tensors["colours.covariance"])
    return NamedStyle({fact: facts.get(fact, "") for fact in _FACTS}, moments, colours, sha256)


def _compressed(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Split a covariance (n, n) into factor (n, rank) and diagonal (n,): factor factorᵀ + diag(diagonal)."""
    values, vectors = torch.linalg.eigh(covariance.double())
    rank = min(_RANK, len(values))
    factor = vectors[:, -rank:] * values[-rank:].clamp_min(0).sqrt()
    diagonal = (covariance.double() - factor @ factor.T).diagonal().clamp_min(0)
    return factor.float(), diagonal.float()


def _between(a: Moments, b: Moments, share: float) -> Moments:
    return Moments(torch.lerp(a.mean, b.mean, share), torch.lerp(a.covariance, b.covariance, share))
