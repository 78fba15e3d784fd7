"""Named styles: statistics of a picture, and a swatch.

A style file contains the mean and covariance of the ``vgg19-slim`` features at each style layer, for several sizes of the
measured picture. A covariance is stored as the standard deviation of each channel plus a low-rank part: the strongest
directions in 8 bits, the weaker ones in 4 bits, which is sufficient for them. The **swatch** is a small picture in the style,
for methods that need more than statistics. The swatch of a shipped style is a texture painted by impasto (see
:mod:`impasto.recipes.swatch`). The swatch of a user's own style is the picture itself. A file takes about 200 kB.

Some styles are shipped with impasto. The user's own styles are stored in a separate folder and take precedence.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from impasto.errors import ImageFileError, OptionError, StyleFileError
from impasto.features.statistics import Moments
from impasto.images import Picture, read
from impasto.runtime.atomic import replacing
from impasto.runtime.folders import styles_folder
from impasto.runtime.torch_state import in_known_state
from impasto.styles.former_names import FORMER_NAMES
from impasto.weights.files import sha256_of

VERSION = "3"
_READ_VERSIONS = ("2", VERSION)
"""Version 2 had no swatch."""
SUFFIX = ".style.safetensors"
SIZES = (128, 256, 512, 1024)
_STRONG, _WEAK = 12, 22
"""Number of a covariance's directions that are stored in 8 bits, and in 4 bits; benchmarks/styles.py measures the error."""
_ROUNDS = 4
_FACTS = ("name", "title", "artist", "date", "source", "licence", "encoder_sha256")


@dataclass(frozen=True)
class NamedStyle:
    """A named style.

    Attributes:
        facts: name, title, artist, date, source and licence of the measured picture, and encoder_sha256.
        moments: moments of the features of vgg19-slim before its heads, by longer side in pixels, then by layer.
        colors: mean (1, 3) and covariance (1, 3, 3) of the picture's colors.
        sha256: hash of the style file; empty if the style was not read from a file.
        swatch: a picture in the style, as the bytes of a WebP file; empty if there is none.
        notes: messages for the user, for example that the style replaces a style of an earlier version.
    """

    facts: Mapping[str, str]
    moments: Mapping[int, Mapping[str, Moments]]
    colors: Moments
    sha256: str = ""
    swatch: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the style."""
        return self.facts["name"]

    def at(self, edge_px: float, layers: Sequence[str]) -> dict[str, Moments]:
        """Return the moments by layer for a longer side of ``edge_px`` pixels, interpolated between the measured sizes.

        Raises:
            OptionError: if a layer was not measured.
        """
        sizes = sorted(self.moments)
        known = self.moments[sizes[0]]
        for layer in layers:
            if layer not in known:
                raise OptionError(
                    f"style {self.name!r} was not measured at layer {layer!r}, only at {', '.join(known)}; "
                    "use these layers, or give a picture"
                )
        below, above, share = _around(edge_px, sizes)
        return {layer: _between(self.moments[below][layer], self.moments[above][layer], share) for layer in layers}

    def picture(self) -> Picture:
        """Return the swatch, for methods that need a style picture.

        Raises:
            StyleFileError: there is no swatch, or it is damaged.
        """
        if not self.swatch:
            raise StyleFileError(
                f"style {self.name!r} was added by an earlier version of impasto and has no swatch, which is needed here; "
                f"add it again (impasto styles remove {self.name}, then impasto styles add), or give a picture"
            )
        try:
            found = read(self.swatch)
        except ImageFileError as error:
            raise StyleFileError(
                f"the swatch of style {self.name!r} is damaged; add the style again, or give a picture"
            ) from error
        return replace(found, name=self.name, sha256=self.sha256 or found.sha256)


@in_known_state
def measured_style(
    facts: Mapping[str, str], measure: Callable[[int], Mapping[str, Moments]], colors: Moments, sizes: Sequence[int] = SIZES
) -> NamedStyle:
    """Measure a style at several sizes.

    Args:
        facts: name, title, artist, date, source, licence, encoder_sha256; missing facts are left empty.
        measure: a function that takes a longer side in pixels and returns the moments of the picture at that size, by layer.
        colors: moments of the picture's colors.
        sizes: longer sides to measure at, in pixels.
    """
    return NamedStyle({fact: facts.get(fact, "") for fact in _FACTS}, {size: measure(size) for size in sizes}, colors)


@in_known_state
def save_style(path: str | Path, style: NamedStyle) -> None:
    """Write a style file atomically.

    Raises:
        StyleFileError: if the file cannot be written.
    """
    path = Path(path)
    sizes = sorted(style.moments)
    tensors = {"sizes": torch.tensor(sizes), "colours.mean": style.colors.mean, "colours.covariance": style.colors.covariance}
    if style.swatch:
        tensors["swatch"] = torch.frombuffer(bytearray(style.swatch), dtype=torch.uint8)
    for layer in style.moments[sizes[0]]:
        parts = [_packed(style.moments[size][layer]) for size in sizes]
        tensors |= {f"{layer}.{part}": torch.stack([each[part] for each in parts]) for part in parts[0]}
    try:
        with replacing(path) as partial:
            save_file({name: t.contiguous() for name, t in tensors.items()}, partial, {"impasto_style": VERSION, **style.facts})
    except (OSError, safetensors.SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise StyleFileError(f"style file {str(path)!r} cannot be written: {why}; choose another path") from error


@in_known_state
def load_style(path: str | Path) -> NamedStyle:
    """Read a style file.

    Raises:
        StyleFileError: if the file is missing, damaged or of another version.
    """
    path = Path(path)
    facts = style_facts(path)
    with _opened(path) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        return _from_tensors(facts, tensors, sha256_of(path))


def style_facts(path: str | Path) -> dict[str, str]:
    """Read only the metadata of a style file, which is fast: name, title, artist, date, source, licence.

    Raises:
        StyleFileError: if the file is missing, damaged or of another version.
    """
    path = Path(path)
    with _opened(path) as opened:
        facts = dict(opened.metadata() or {})
    version = facts.get("impasto_style")
    if version not in _READ_VERSIONS:
        raise StyleFileError(
            f"style file {str(path)!r} has version {version}, but this impasto reads version {VERSION}; create it again"
        )
    return {fact: facts.get(fact, "") for fact in _FACTS}


# ---------------------------------------------------------------------------------------------------- by name


def shipped_styles() -> dict[str, Path]:
    """Return the files of the styles shipped with impasto, by style name."""
    return _styles_in(Path(str(files("impasto") / "data" / "styles")))


def user_styles() -> dict[str, Path]:
    """Return the files of the user's own styles, by style name."""
    return _styles_in(styles_folder())


def known_styles() -> dict[str, Path]:
    """Return the files of all named styles, shipped or the user's own, by style name.

    A style cannot be added under the name of a shipped style. If a later version of impasto ships a style with a name that
    the user already uses, the user's style takes precedence, so existing commands give the same result as before.
    """
    return dict(sorted({**shipped_styles(), **user_styles()}.items()))


def find_style(name: str) -> NamedStyle:
    """Load a style by its name.

    Raises:
        OptionError: if there is no style of that name; the message suggests the nearest name.
        StyleFileError: if its file is damaged or of another version.
    """
    known = known_styles()
    if name not in known and name in FORMER_NAMES:
        present = FORMER_NAMES[name]
        return replace(load_style(known[present]), notes=(f"replaces {name}, which an earlier version shipped",))
    if name not in known:
        raise OptionError(f"style {name!r} is neither a picture file nor a named style{_nearest(name, known)}")
    return load_style(known[name])


def check_new_name(name: str) -> None:
    """Raise unless a name can be used for a new style.

    Raises:
        OptionError: if the name does not consist of lower-case words with hyphens, or is taken.

    Example:
        >>> check_new_name("my-garden")
        >>> check_new_name("My Garden")
        Traceback (most recent call last):
        impasto.errors.OptionError: a style cannot be called 'My Garden'; use lower-case words with hyphens, such as 'my-garden'
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        better = "-".join(re.findall("[a-z0-9]+", plain)) or "my-style"
        raise OptionError(f"a style cannot be called {name!r}; use lower-case words with hyphens, such as {better!r}")
    if name in shipped_styles():
        raise OptionError(f"style {name!r} is shipped with impasto; choose another name, such as 'my-{name}'")
    if name in user_styles():
        raise OptionError(
            f"style {name!r} exists already; choose another name, or remove it first: impasto styles remove {name}"
        )


def add_style(style: NamedStyle) -> Path:
    """Save a style to the user's own styles, so that it can be used by name.

    Returns:
        The path of the style file.

    Raises:
        OptionError: if its name is not allowed, or already taken; see :func:`check_new_name`.
        StyleFileError: if it cannot be written.
    """
    check_new_name(style.name)
    folder = styles_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise StyleFileError(
            f"styles cannot be saved in {str(folder)!r}: {why}; set IMPASTO_STYLES to another folder"
        ) from error
    save_style(folder / f"{style.name}{SUFFIX}", style)
    return folder / f"{style.name}{SUFFIX}"


def remove_style(name: str) -> Path:
    """Delete one of the user's own styles.

    Returns:
        The path of the deleted file.

    Raises:
        OptionError: if there is no style with this name among the user's own styles.
        StyleFileError: if the file cannot be deleted.
    """
    own = user_styles()
    if name not in own and name in shipped_styles():
        raise OptionError(f"style {name!r} is shipped with impasto and cannot be removed; only your own styles can")
    if name not in own:
        raise OptionError(f"style {name!r} is not one of your own styles{_nearest(name, own)}")
    try:
        own[name].unlink()
    except OSError as error:
        raise StyleFileError(f"style file {str(own[name])!r} cannot be removed: {error.strerror or error}") from error
    return own[name]


def _styles_in(folder: Path) -> dict[str, Path]:
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message.

    It suggests the known names that contain ``name`` (such as 'seurat'). If there are none, it suggests the nearest name.
    """
    known, word = list(known), name.lower()
    near = [each for each in known if word and word in each][:3] or get_close_matches(word, known, n=1)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "; see impasto styles list"


# ---------------------------------------------------------------------------------------------------- inside the file


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a style file and convert all errors to StyleFileError."""
    try:
        with safetensors.safe_open(path, "pt") as opened:
            yield opened
    except FileNotFoundError as error:
        raise StyleFileError(f"style file {str(path)!r} does not exist; see impasto styles list") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged or not a style file; create it again") from error
    except (KeyError, ValueError, RuntimeError) as error:
        raise StyleFileError(f"style file {str(path)!r} is damaged: {json.dumps(str(error))}; create it again") from error


def _from_tensors(facts: Mapping[str, str], tensors: Mapping[str, Tensor], sha256: str) -> NamedStyle:
    sizes: list[int] = tensors["sizes"].tolist()
    moments: dict[int, dict[str, Moments]] = {size: {} for size in sizes}
    layers = [key.removesuffix(".mean") for key in tensors if key.endswith(".mean") and key != "colours.mean"]
    if not layers or min(sizes, default=0) < 1:
        raise ValueError("it contains no statistics")
    for layer in layers:
        mean, covariance = tensors[f"{layer}.mean"].float(), _unpacked(layer, tensors)
        if mean.shape != covariance.shape[:2] or not (mean.isfinite().all() and covariance.isfinite().all()):
            raise ValueError(f"{layer} has invalid moments")
        for size, *of_size in zip(sizes, mean, covariance, strict=True):
            moments[size][layer] = Moments(*(each[None] for each in of_size))
    colors = Moments(tensors["colours.mean"].float(), tensors["colours.covariance"].float())
    swatch = bytes(tensors["swatch"].tolist()) if "swatch" in tensors else b""
    return NamedStyle(facts, moments, colors, sha256, swatch)


def _packed(measured: Moments) -> dict[str, Tensor]:
    """Quantize the moments of one layer for storage; :func:`_unpacked` is the inverse.

    Returns:
        By name: ``mean`` and ``deviation`` (channels,), float16; ``strong`` (channels, 12), int8; ``weak`` (channels, 11),
        uint8, two 4-bit directions per byte; ``unit`` (34,), the quantization step of each direction.
    """
    loadings = _loadings(measured.covariance[0])
    most = torch.tensor([127.0] * _STRONG + [7.0] * _WEAK)
    unit = loadings.abs().amax(0).clamp_min(1e-30) / most
    strong, weak = (loadings / unit).round().split([_STRONG, _WEAK], dim=1)
    low, high = (weak + 8).to(torch.uint8).chunk(2, dim=1)
    return {
        "mean": measured.mean[0].half(),
        "deviation": measured.covariance[0].diagonal().clamp_min(0).sqrt().half(),
        "strong": strong.to(torch.int8),
        "weak": low + 16 * high,
        "unit": unit,
    }


def _unpacked(layer: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """Reconstruct the covariances of a layer, (sizes, channels, channels).

    They are positive semidefinite and have the measured diagonal.
    """
    strong, weak = tensors[f"{layer}.strong"], tensors[f"{layer}.weak"]
    steps = torch.cat([strong.float(), (weak & 15).float() - 8, (weak >> 4).float() - 8], dim=2)
    loadings = steps * tensors[f"{layer}.unit"][:, None]
    deviation = tensors[f"{layer}.deviation"].float()
    # Quantization can give a channel more variance than was measured; then its loadings are scaled down. If it gives less,
    # the rest of the measured variance belongs to this channel alone.
    loadings = loadings * (deviation / loadings.norm(dim=2).clamp_min(1e-30)).clamp_max(1)[..., None]
    own = (deviation.square() - loadings.square().sum(2)).clamp_min(0)
    covariance: Tensor = loadings @ loadings.transpose(1, 2) + torch.diag_embed(own)
    return covariance


def _loadings(covariance: Tensor) -> Tensor:
    """Factor a covariance (n, n): return loadings L (n, 34) so that ``L Lᵀ`` approximates it off the diagonal.

    The diagonal is stored separately. Each round therefore subtracts the part of the diagonal that the loadings of the previous
    round do not explain, and computes new loadings. They describe what the channels have in common. Columns are sorted by
    strength. If there are fewer than 34 channels, the remaining columns are zeros.

    Source: iterated principal factors, Harman 1976, Modern Factor Analysis.
    """
    whole = covariance.double()
    own = torch.zeros(len(whole), dtype=torch.float64)
    loadings = torch.zeros(len(whole), _STRONG + _WEAK, dtype=torch.float64)
    for _ in range(_ROUNDS):
        values, vectors = torch.linalg.eigh(whole - own.diag())
        strongest = (vectors * values.clamp_min(0).sqrt()).flip(1)[:, : _STRONG + _WEAK]
        loadings[:, : strongest.shape[1]] = strongest
        own = (whole.diagonal() - loadings.square().sum(1)).clamp_min(0)
    return loadings.float()


def _around(edge_px: float, sizes: Sequence[int]) -> tuple[int, int, float]:
    """Return the measured sizes below and above a length, and the interpolation weight between them."""
    below = max([size for size in sizes if size <= edge_px], default=sizes[0])
    above = min([size for size in sizes if size >= edge_px], default=sizes[-1])
    return below, above, 0.0 if above == below else math.log(edge_px / below) / math.log(above / below)


def _between(a: Moments, b: Moments, share: float) -> Moments:
    return Moments(torch.lerp(a.mean, b.mean, share), torch.lerp(a.covariance, b.covariance, share))
