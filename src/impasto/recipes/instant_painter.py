"""The instant painter: any style in one pass, by style swap, coarse to fine.

At each size, the painter encodes the photo (mixed with the current picture) and the styles. It replaces the features at each
position by those of the most similar style position, and decodes the result. Global measurements (feature mean, average
activity, colors) are made once per size, so large pictures can be painted in tiles.

Source: see :mod:`impasto.networks.style_swap`; coarse to fine as in Kolkin et al. 2022.
"""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.transfer import color_moments, monge_kantorovich, raised_contrast, recolored, whitening
from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic, choose_arithmetic
from impasto.errors import OptionError
from impasto.features.neighbors import Keys, Patches, with_colors
from impasto.features.statistics import Affine, Moments, blend, precise
from impasto.images import fitted_size, resize
from impasto.losses.picture import activity_of, flatness
from impasto.masks.ground import cells_within, colors_within, painted_area
from impasto.networks.compiled import Compiled, compiling, has_openvino
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.style_swap import (
    CELL_PX,
    COHERENCE,
    COLOR,
    SEARCH_LAYERS,
    SWAP_LAYERS,
    Decoder,
    blocks_of,
    remove_grid,
    search_columns,
    swapped,
)
from impasto.optim.parametrization import to_laplacian
from impasto.options import Run
from impasto.recipes.neighbor_layers import patches_where_flat
from impasto.recipes.starts import SMALLEST_SIDE, Style, at_least, style_edge_px
from impasto.runtime.memory import return_freed_memory
from impasto.runtime.rasters import MemoryRaster, Raster, interpolated_part, painted_between, resized_into, resized_whole
from impasto.runtime.tiling import Place, painted_in_tiles, spread_parts
from impasto.runtime.torch_state import in_known_state, plain
from impasto.styles.named import NamedStyle
from impasto.tensors import FeatureMap, Features, Image, Mask

LARGEST_WHOLE_PX = 2_100_000
"""Pictures with more pixels are painted in tiles."""
TILE_PX, HALO_PX = 1024, 128
MULTIPLE_PX = 2 * CELL_PX
_LARGEST_STYLE_PX = 1024
_SMALLEST_EDGE_PX = 96
_PART_PX, _PARTS = 256, 24
_DIRECTIONS, _MOST_KEYS = 64, 4096
_DIRECTIONS_OF_FAST, _MOST_KEYS_OF_FAST = 32, 2048
"""With ``fast``, the search uses fewer directions, and styles with more positions are first searched on a sparse grid."""
_KEPT = 0.7
"""Share of the photo in the picture to match; the rest is the current picture."""
_FLAT_REDUCTION = 0.25
"""Reduction of the photo's share in flat areas."""
EVENLY = 0.6
"""Exponent that maps the strength to the mixing weight of features; it makes equal steps of the strength look equally large."""
BLENDED_BELOW = 0.3
"""Below this strength the result is blended with the photo, so that strength 0 returns the photo."""
_LEVELS_KEPT = 8
_ALL_LAYERS = frozenset((*SWAP_LAYERS, *SEARCH_LAYERS))


class Level(NamedTuple):
    """The styles encoded at one size.

    Attributes:
        keys: search keys of all styles.
        fast_keys: keys for a faster search.
        rows: the features of each position, (positions, channels).
    """

    keys: Keys
    fast_keys: Keys
    rows: Tensor

    def keys_for(self, edge_px: int) -> Keys:
        """Return the keys with which ``fast`` searches; for pictures that have a single size anyway, these are ``keys``."""
        return self.fast_keys if edge_px >= 2 * _SMALLEST_EDGE_PX else self.keys


@dataclass(frozen=True)
class StyleCode:
    """One or more styles to paint in. The encoding for each size is computed on first use.

    Attributes:
        pictures: the style pictures, (1, 3, height, width).
        colors: mean (1, 3) and covariance (1, 3, 3) of each style's colors.
        weights: the share of each style in the result; the shares sum to 1.
        stroke: stroke size; with 1, the style picture is encoded at the size of the photo, but enlarged by at most a quarter.
        areas: the part of each style picture to use, see :func:`impasto.masks.ground.painted_area`; None: the whole picture.
            Empty: all style pictures are used as a whole.
        levels: cache of encodings by size and networks.
    """

    pictures: tuple[Image, ...]
    colors: tuple[Moments, ...]
    weights: tuple[float, ...] = (1.0,)
    stroke: float = 1.0
    areas: tuple[Mask | None, ...] = ()
    levels: dict[tuple[tuple[tuple[int, int], ...], str], Level] = field(default_factory=dict, repr=False, compare=False)
    """Cached encodings, by the sizes of the pictures and by the networks that computed them; any thread may add encodings."""

    @property
    def areas_of_pictures(self) -> tuple[Mask | None, ...]:
        """The area of each style picture."""
        return self.areas or (None,) * len(self.pictures)


@dataclass(frozen=True)
class _Direct:
    """The encoder and decoder, run by PyTorch. The interface is that of :class:`impasto.networks.compiled.Compiled`."""

    slim: Vgg
    network: Decoder
    arithmetic: Arithmetic

    def encode(self, picture: Image, layers: frozenset[str]) -> Features:
        return self.arithmetic.encode(self.slim, picture, layers)

    def decode(self, features: Sequence[FeatureMap]) -> Image:
        with torch.autocast(self.arithmetic.device.type, torch.bfloat16, enabled=self.arithmetic.precision == "bf16"):
            return self.network(*features).float().clamp(0, 1)  # type: ignore[no-any-return]


_Networks = Compiled | _Direct
MakeRaster = Callable[[tuple[int, int]], Raster]
"""Creates a raster of a size (height, width)."""
SmallerSizes = Generator[tuple[tuple[int, int], Place], None, Raster | None]
"""Yields the size and place of each finished tile; returns the picture painted at the last of these sizes."""


class _Measurements(NamedTuple):
    """Global measurements of a picture at one size, estimated from parts of it.

    Attributes:
        mean: mean of the features to match, (channels,).
        activity: average activity of the photo; see :func:`impasto.losses.picture.activity_of`.
    """

    mean: Tensor
    activity: Tensor


class Earlier(NamedTuple):
    """The result of the previous frame of a clip, moved along the optical flow to this frame.

    Attributes:
        picture: (1, 3, height, width) in [0, 1].
        weight: its weight at each pixel, (1, 1, height, width) in [0, 1].
    """

    picture: Image
    weight: Tensor


class _Part(NamedTuple):
    """A tile or a whole picture: its place, the size of the whole picture and, for a tile, global measurements."""

    place: Place
    size: tuple[int, int]
    measurements: _Measurements | None = None


class InstantPainter:
    """Encoder and decoder for instant painting. One instance paints any number of photos and is thread-safe.

    With a fixed engine, painting is deterministic: the same photo and style give a bit-identical picture, regardless of other
    calls and threads. With ``auto``, the first picture is painted with PyTorch, which starts immediately, and later pictures
    with OpenVINO if it is installed. The two engines round differently, so later pictures may differ slightly from the first.
    A single picture is always painted with one engine.

    Args:
        run: device and precision.
        engine: see :class:`impasto.options.InstantOptions`.

    Raises:
        OptionError: the device or the engine is not available.

    Example:
        >>> import impasto, skimage.data
        >>> painter = impasto.InstantPainter()
        >>> style = painter.encode(impasto.read(skimage.data.coffee()))
        >>> painter.paint(impasto.read(skimage.data.astronaut()).image[..., :128, :128], style).shape
        torch.Size([1, 3, 128, 128])

    Source:
        Chen and Schmidt 2016 (arXiv:1612.04337); Kolkin et al. 2022 (arXiv:2203.13215) for hypercolumns, coarse to fine.
    """

    @in_known_state
    def __init__(self, run: Run | None = None, engine: str = "auto") -> None:
        if engine == "openvino" and not has_openvino():
            raise OptionError("--engine openvino is not installed; pip install 'impasto[fast]', or use --engine torch")
        self.run = run or Run()
        self.slim: Vgg = load_encoder("vgg19-slim")
        self.arithmetic: Arithmetic = choose_arithmetic(self.run, self.slim)
        self.device = self.arithmetic.device
        self.network: Decoder = load_decoder(shipped_decoder()).to(self.device)
        self.engine = engine
        self._painted = 0
        self._direct = _Direct(self.slim, self.network, self.arithmetic)
        self._compiled: Compiled | None = None

    # ------------------------------------------------------------------------------------------------ styles

    @in_known_state
    def encode(self, style: Style, *, stroke: float = 1.0) -> StyleCode:
        """Encode a style (for a named style, its swatch).

        Args:
            style: a picture or a named style.
            stroke: stroke size; with 1, the style picture is encoded at the size of the photo, but enlarged by at most a
                quarter.

        Raises:
            StyleFileError: a named style has no swatch.
        """
        if isinstance(style, NamedStyle):
            return StyleCode((style.picture().image.to(self.device),), (style.colors.to(self.device),), stroke=stroke)
        return self.encode_picture(style.image, stroke=stroke)

    @in_known_state
    def encode_picture(self, picture: Image, *, stroke: float = 1.0) -> StyleCode:
        """Encode a style picture, (1, 3, height, width) in [0, 1]."""
        picture = plain(picture).to(self.device)
        area = painted_area(picture)
        return StyleCode((picture,), (colors_within(picture, area),), stroke=stroke, areas=(area,))

    def manner(self, style: Style | Image, *, edge_px: int | None = None, stroke: float = 1.0) -> StyleCode:
        """Encode a style. This is the former name of :meth:`encode`.

        Args:
            style: a picture, a named style, or a tensor (1, 3, height, width) in [0, 1].
            edge_px: ignored; a style is encoded for each size that is painted.
            stroke: see :meth:`encode`.
        """
        warnings.warn("InstantPainter.manner is deprecated; use encode, without edge_px", DeprecationWarning, stacklevel=2)
        return self.encode_picture(style, stroke=stroke) if isinstance(style, Tensor) else self.encode(style, stroke=stroke)

    @torch.no_grad()
    def level(self, code: StyleCode, edge_px: int, networks: _Networks | None = None) -> Level:
        """Encode the styles for photos with a longer side of ``edge_px``, with the networks that encode the photo."""
        networks = networks or self._direct
        sizes = [(picture.shape[-2], picture.shape[-1]) for picture in code.pictures]
        edges = [max(SMALLEST_SIDE, style_edge_px(size, edge_px, code.stroke)) for size in sizes]
        fitted = tuple(fitted_size(size, min(_LARGEST_STYLE_PX, edge)) for size, edge in zip(sizes, edges, strict=True))
        key = (fitted, f"{type(networks).__name__} {self.arithmetic}")
        level = code.levels.get(key)
        if level is None:
            columns, allowed, rows = [], [], []
            for picture, colors, area, size in zip(code.pictures, code.colors, code.areas_of_pictures, fitted, strict=True):
                small = in_eights(at_least(resize(picture, size), SMALLEST_SIDE))
                features = networks.encode(small, _ALL_LAYERS)
                found = search_columns(features, self.network.spread)
                columns.append(with_colors(found, small, whitening(colors, COLOR)))
                allowed.append(None if area is None else cells_within(area, (found.shape[-2], found.shape[-1])))
                rows.append(blocks_of(features))
            keys = Keys.of(columns, allowed, directions=_DIRECTIONS, most=_MOST_KEYS)
            fast_keys = keys.reduced(_DIRECTIONS_OF_FAST, _MOST_KEYS_OF_FAST)
            level = code.levels[key] = Level(keys, fast_keys, torch.cat(rows))
            for oldest in list(code.levels)[:-_LEVELS_KEPT]:
                code.levels.pop(oldest, None)
        return level

    # ------------------------------------------------------------------------------------------------ photos

    @in_known_state
    @torch.no_grad()
    def paint(
        self,
        photo: Image,
        code: StyleCode,
        *,
        strength: float = 1.0,
        fast: bool = False,
        earlier: Earlier | None = None,
    ) -> Image:
        """Paint a photo at its own size.

        Args:
            photo: (1, 3, height, width) in [0, 1]; both sides at least 32.
            code: the style code.
            strength: 0 to 1.5.
            fast: paint at a single size, with a faster search.
            earlier: the result of the previous frame, whose strokes are continued.

        Returns:
            (1, 3, height, width), in [0, 1], float32, on the photo's device.
        """
        photo = plain(photo)
        found = photo if photo.shape[-2] * photo.shape[-1] <= LARGEST_WHOLE_PX else photo.clone()
        return self._in_place(found, code, strength, earlier, fast=fast)

    @in_known_state
    @torch.no_grad()
    def paint_over(self, photo: Image, code: StyleCode, *, strength: float = 1.0, fast: bool = False) -> Iterator[int]:
        """Paint a large photo in tiles, in place; yield the number of completed rows."""
        if strength > 0:
            yield from self.painting((photo.shape[-2], photo.shape[-1]), code, strength, fast=fast).tiles(photo)

    @in_known_state
    def paint_in_place(self, image: Image, code: StyleCode, *, strength: float = 1.0, fast: bool = False) -> Image:
        """Paint like :meth:`paint`, but overwrite a large picture in place, in tiles."""
        return self._in_place(plain(image), code, strength, None, fast=fast)

    @torch.no_grad()
    def _in_place(self, image: Image, code: StyleCode, strength: float, earlier: Earlier | None, *, fast: bool) -> Image:
        if strength == 0:
            return image
        height, width = image.shape[-2:]
        painting = _Painting(self, (height, width), code, strength, earlier, fast=fast)
        if height * width <= LARGEST_WHOLE_PX:
            return painting.whole(image)
        for _ in painting.tiles(image):
            pass
        return image

    def painting(self, size: tuple[int, int], code: StyleCode, strength: float, *, fast: bool = False) -> "_Painting":
        """Return the painting of a photo with this (height, width); for photos that are read and painted in parts."""
        return _Painting(self, size, code, strength, fast=fast)

    # ------------------------------------------------------------------------------------------------ networks

    def _networks(self) -> _Networks:
        """Choose the networks for the next picture.

        Compiling takes longer than painting one picture, so ``auto`` uses compiled networks from the second picture on.
        """
        self._painted += 1
        is_first = self._painted == 1
        if self.engine == "torch" or self.device.type != "cpu" or not has_openvino():
            return self._direct
        if self.engine != "openvino" and is_first:
            return self._direct
        with compiling.lock:
            if self._compiled is None:
                self._compiled = Compiled(self.slim, self.network, self.arithmetic.precision)
            return self._compiled


def steady_painter(run: Run | None = None) -> InstantPainter:
    """Return a painter with one engine for all pictures, for the frames of a clip.

    The engines' results differ by rounding errors, which may change matches. So frames must not depend on which of them is
    painted first.
    """
    return InstantPainter(run, "openvino" if has_openvino() else "torch")


class _Painting:
    """The painting of one photo.

    Attributes:
        size: (height, width) of the photo.
        fast: whether to paint at a single size, with a faster search.
        owner: the style chosen at each position of the first size, one-hot, (1, styles, height, width); None with one style.
        palette: mean and covariance of the photo's colors; known after painting has started.
    """

    def __init__(
        self,
        painter: InstantPainter,
        size: tuple[int, int],
        code: StyleCode,
        strength: float,
        earlier: Earlier | None = None,
        *,
        fast: bool = False,
    ) -> None:
        self.painter, self.size, self.code, self.strength, self.earlier = painter, size, code, strength, earlier
        self.fast = fast
        self.owner: Tensor | None = None
        self.palette: Moments | None = None
        self.networks = painter._networks()
        self.kept = 1 - (1 - _KEPT) * min(1.0, strength) if strength <= 1 else _KEPT * (2 - strength)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The (height, width) of each size, smallest first."""
        return painted_sizes(self.size, fast=self.fast)

    def whole(self, photo: Image) -> Image:
        """Paint the whole picture at once; it must fit into memory."""
        picture: Image | None = None
        self.palette = color_moments(photo.to(self.painter.device))
        for size in self.sizes:
            picture = self._sized(resize(photo.to(self.painter.device), size), picture)
        assert picture is not None
        return self._finished(photo.to(picture), picture, self._colors(picture)).to(photo.device)

    def tiles(self, photo: Image) -> Iterator[int]:
        """Paint a large picture in place, in tiles. Yield the number of finished rows."""
        content = MemoryRaster(photo)
        before = finished(self.smaller(content))
        for place in self.last(content, content, before):
            yield place.top + place.height

    def smaller(self, photo: Raster, make: MakeRaster | None = None) -> SmallerSizes:
        """Paint all sizes but the last. Small sizes are painted whole, the others in tiles.

        Args:
            photo: the photo.
            make: creates a raster of a size, for a size that is painted in tiles. Default: in memory.

        Yields:
            The size, and the place of each finished tile.

        Returns:
            The picture painted at the next-to-last size; None if there is a single size.
        """
        sizes = self.sizes[:-1]
        self._measure_palette(photo)
        contents = [self._made(size, make) for size in sizes]
        resized_into(photo, contents)
        before: Raster | None = None
        for content in contents:
            if content.size[0] * content.size[1] <= LARGEST_WHOLE_PX:
                assert isinstance(content, MemoryRaster)
                seen = before.image if isinstance(before, MemoryRaster) else None
                before = MemoryRaster(self._sized(content.image.to(self.painter.device), seen))
                yield content.size, Place(0, 0, *content.size)
                continue
            result = content if make is None else make(content.size)
            for place in self._over(content, result, before, None):
                yield content.size, place
            for used in (before, content):
                if used is not result and used is not None:
                    used.delete()
            before = result
        return before

    def last(self, photo: Raster, result: Raster, before: Raster | None, first_row: int = 0) -> Iterator[Place]:
        """Paint the last size, in tiles.

        Args:
            photo: the photo.
            result: where to write the picture; a picture in memory may be overwritten in place.
            before: what :meth:`smaller` returned.
            first_row: rows of tiles that end at or above this row are omitted.

        Yields:
            The place of each finished tile.
        """
        self._measure_palette(photo)
        seen = photo if before is None else before
        small = resized_whole(seen, _small_size(seen.size)).to(self.painter.device)
        colors = self._colors(self._sized(small, None) if before is None else small)
        yield from self._over(photo, result, before, colors, first_row)

    def _measure_palette(self, photo: Raster) -> None:
        """Measure the colors of a photo that is painted in tiles."""
        if self.palette is None:
            self.palette = color_moments(resized_whole(photo, _small_size(photo.size)).to(self.painter.device))

    @staticmethod
    def _made(size: tuple[int, int], make: MakeRaster | None) -> Raster:
        is_small = size[0] * size[1] <= LARGEST_WHOLE_PX
        return MemoryRaster(torch.empty(1, 3, *size)) if make is None or is_small else make(size)

    def _over(
        self, content: Raster, result: Raster, before: Raster | None, colors: Affine | None, first_row: int = 0
    ) -> Iterator[Place]:
        """Paint a picture in tiles, given the result of the previous size; with ``colors``, also finish it."""
        level = self.painter.level(self.code, max(content.size), self.networks)
        measurements = self._measured(content, before, level)

        def paint(tile: Image, place: Place) -> Image:
            return_freed_memory()  # otherwise, gaps between the freed blocks of tiles take more and more memory
            part, below = _Part(place, content.size, measurements), self._below(before, place, content.size)
            tile = tile.contiguous().to(self.painter.device)
            found = self._swapped(tile, below, level, part)
            return (self._finished(tile, found, colors) if colors else found).cpu()

        if result is content:  # in memory, and overwritten
            assert isinstance(content, MemoryRaster)
            top, width = 0, content.size[1]
            for bottom in painted_in_tiles(content.image, paint, TILE_PX, HALO_PX):
                yield Place(top, 0, bottom - top, width)
                top = bottom
        else:
            yield from painted_between(content, result, paint, TILE_PX, HALO_PX, first_row)

    def _below(self, before: Raster | None, place: Place, size: tuple[int, int]) -> Image | None:
        """Return a part of the picture painted at the previous size, enlarged."""
        return None if before is None else interpolated_part(before, place, size).to(self.painter.device)

    def _sized(self, content: Image, before: Image | None) -> Image:
        """Paint the whole picture at one size."""
        size = (content.shape[-2], content.shape[-1])
        level = self.painter.level(self.code, max(size), self.networks)
        place = Place(0, 0, *size)
        enlarged = None if before is None else _cut(before, place, size)
        return self._swapped(content, enlarged, level, _Part(place, size))

    def _swapped(self, content: Image, before: Image | None, level: Level, part: _Part) -> Image:
        """Match a picture or tile with the styles and decode the features of the matches.

        Args:
            content: the picture or tile.
            before: the same part of the picture painted at the previous size, enlarged.
            level: the styles.
            part: where the tile is.
        """
        (_, _, height, width), measurements = part.place, part.measurements
        owner = None if self.owner is None else _cut(self.owner, part.place, part.size)
        content, before = in_eights(content), None if before is None else in_eights(before)
        features, columns = self._encoded(content, before, part, measurements.activity if measurements else None)
        shares = self._shares(owner, (columns.shape[-2], columns.shape[-1]))
        found = (level.keys_for(max(self.size)) if self.fast else level.keys).match(
            columns,
            mean=measurements.mean if measurements else None,
            shares=shares,
            coherence=COHERENCE,
            patches=self._patches(content, part, (columns.shape[-2], columns.shape[-1])),
        )
        if shares is not None and self.owner is None and measurements is None:
            self.owner = F.one_hot(found.style, len(self.code.pictures)).permute(2, 0, 1)[None].float()
        del before, columns, shares
        if measurements is not None:
            return_freed_memory()  # the decoder needs the most memory
        features_of_matches = swapped(level.rows, found.position, self.painter.network.channels)
        if self.strength < 1:
            share = self.strength**EVENLY
            features_of_matches = [
                torch.lerp(features[layer].to(each), each, share)
                for layer, each in zip(SWAP_LAYERS, features_of_matches, strict=True)
            ]
        del features
        picture = self.networks.decode(features_of_matches)
        remove_grid(picture, where_present=True)
        return picture[..., :height, :width]

    def _encoded(
        self, content: Image, before: Image | None, part: _Part, activity: Tensor | None
    ) -> tuple[Features, FeatureMap]:
        """Encode the picture to match; return its features, and its hypercolumns with the photo's colors."""
        assert self.palette is not None
        needed = frozenset(SEARCH_LAYERS) if self.strength >= 1 else _ALL_LAYERS
        features = self.networks.encode(self._mixture(content, before, part, activity), needed)
        columns = search_columns(features, self.painter.network.spread)
        return features, with_colors(columns, content, whitening(self.palette, COLOR))

    def _mixture(self, content: Image, before: Image | None, part: _Part, activity: Tensor | None) -> Image:
        """Return the picture to match: a mix of the photo and the current picture, with the photo's finest details.

        At the last two sizes, the current picture is mixed with the result of the previous frame.
        """
        if before is None:
            return content
        share = self.kept * (1 - _FLAT_REDUCTION * flatness(content, average=activity))
        if self.earlier is not None and 3 * max(part.size) > max(self.size):
            moved, weight = (in_eights(_cut(each.to(before), part.place, part.size)) for each in self.earlier)
            before = torch.lerp(before, moved, weight)
        return torch.lerp(before + to_laplacian(content, levels=2)[0], content, share).clamp_(0, 1)

    def _patches(self, content: Image, part: _Part, grid: tuple[int, int]) -> Patches:
        """Return the settings for style patches, which are allowed in flat areas and cover fewer positions at smaller sizes."""
        flat = flatness(content, average=part.measurements.activity if part.measurements else None)
        return patches_where_flat(
            flat,
            grid,
            top=part.place.top // CELL_PX,
            left=part.place.left // CELL_PX,
            share=max(part.size) / max(self.size),
        )

    def _shares(self, owner: Tensor | None, grid: tuple[int, int]) -> Tensor | None:
        if len(self.code.pictures) == 1:
            return None
        if owner is not None:
            return F.interpolate(owner, size=grid, mode="nearest")[0]
        weights = torch.tensor(self.code.weights, device=self.painter.device)
        return weights[:, None, None].expand(-1, *grid)

    def _measured(self, content: Raster, before: Raster | None, level: Level) -> _Measurements:
        """Measure the feature mean and the activity of a large picture in parts."""
        part = min(_PART_PX, min(content.size) // MULTIPLE_PX * MULTIPLE_PX)
        spread = spread_parts(content.size, part, _PARTS)
        places = [Place(rows.start, columns.start, part, part) for rows, columns in spread]
        parts = [content.read(place).to(self.painter.device) for place in places]
        activity = torch.stack([activity_of(each).mean() for each in parts]).mean()
        sums = []
        for each, place in zip(parts, places, strict=True):
            below, part_of_picture = self._below(before, place, content.size), _Part(place, content.size)
            _, columns = self._encoded(each, below, part_of_picture, activity)
            sums.append(precise(columns).mean((0, 2, 3)))
        return _Measurements(torch.stack(sums).mean(0), activity)

    def _colors(self, picture: Image) -> Affine:
        """Return the linear map from the colors of a picture to those of the style, whose contrast is raised if it is low."""
        assert self.palette is not None
        target = raised_contrast(blend(list(self.code.colors), list(self.code.weights)), self.palette)
        found = monge_kantorovich(color_moments(picture), target)
        return _scaled_colors(found, self.strength)

    def _finished(self, photo: Image, painted: Image, colors: Affine) -> Image:
        """Apply the colors of the style; at low strengths, blend with the photo."""
        found = recolored(painted, colors).clamp_(0, 1)
        return found if self.strength >= BLENDED_BELOW else torch.lerp(photo, found, self.strength / BLENDED_BELOW)


def blended(codes: Sequence[StyleCode], weights: Sequence[float]) -> StyleCode:
    """Combine style codes into one by weight. Weights are normalized; if there are none, equal weights are used."""
    if len(codes) == 1:
        return codes[0]
    weights = weights or [1.0] * len(codes)
    used = [(code, weight / sum(weights)) for code, weight in zip(codes, weights, strict=True) if weight > 0]
    pictures, colors = ([each for code, _ in used for each in getattr(code, name)] for name in ("pictures", "colors"))
    shares = [weight * own for code, weight in used for own in code.weights]
    areas = [area for code, _ in used for area in code.areas_of_pictures]
    return StyleCode(tuple(pictures), tuple(colors), tuple(shares), codes[0].stroke, tuple(areas))


def painted_sizes(size: tuple[int, int], *, fast: bool) -> list[tuple[int, int]]:
    """Return the sizes at which a photo is painted, smallest first; each is half of the next.

    Example:
        >>> painted_sizes((200, 400), fast=False)
        [(50, 100), (100, 200), (200, 400)]
    """
    sizes = [size]
    while not fast and max(sizes[0]) / 2 >= _SMALLEST_EDGE_PX and min(sizes[0]) / 2 >= SMALLEST_SIDE:
        sizes.insert(0, (round(sizes[0][0] / 2), round(sizes[0][1] / 2)))
    return sizes


def in_eights(image: Image) -> Image:
    """Pad a picture on the right and at the bottom until both sides are multiples of eight."""
    height, width = image.shape[-2:]
    down, right = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image


def _cut(smaller: Tensor, place: Place, size: tuple[int, int]) -> Tensor:
    """Crop the area of ``place`` from a picture of another size, with interpolation that does not depend on the crop."""
    rows, columns = (
        (torch.arange(start, start + count, device=smaller.device) + 0.5) * (2 / whole) - 1
        for start, count, whole in ((place.top, place.height, size[0]), (place.left, place.width, size[1]))
    )
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]
    return F.grid_sample(smaller, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _small_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which colors are measured."""
    return size if max(size) <= 1024 else fitted_size(size, 1024)


def finished(painting: SmallerSizes) -> Raster | None:
    """Paint to the end; return what the generator returns."""
    while True:
        try:
            next(painting)
        except StopIteration as end:
            found: Raster | None = end.value
            return found


def _scaled_colors(colors: Affine, strength: float) -> Affine:
    share = min(strength, 1.0)
    identity = torch.eye(3, device=colors.matrix.device).expand_as(colors.matrix)
    return Affine(torch.lerp(identity, colors.matrix, share), colors.bias * share)
