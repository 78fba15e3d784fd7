"""Guided synthesis: assemble a picture from pieces of example pictures, coarse to fine.

The doodle, analogy and texture recipes are based on it.

At each size, each position of the picture is matched with a position of the examples. Positions are compared by their own
features and, if there is a guide, by the guide: the label of a map, or the features of another picture. The features of the
matches are averaged where they overlap and decoded (see :mod:`impasto.networks.style_swap`), and the result is matched again.
The next size starts from the enlarged field of matches, so large pieces are copied as a whole.

Source: Kwatra et al. 2005 for search and averaging; Champandard 2016 (arXiv:1603.01768) for maps as guides; Liao et al. 2017
(arXiv:1705.01088) for features of another picture as guides. Departures: features are decoded by a network instead of being
optimized, matches are propagated as in Barnes et al. 2009, and examples are used evenly as in Kaspar et al. 2015.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic, choose_arithmetic
from impasto.features.distributions import leading
from impasto.features.fields import (
    Bank,
    FieldSearch,
    enlarged,
    evenly_nearest,
    random_blocks,
    rows_of_neighborhoods,
    searched,
    votes,
)
from impasto.images import resize
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.style_swap import CELL_PX, SEARCH_LAYERS, SWAP_LAYERS, Decoder, blocks_of, decoded, search_columns
from impasto.optim.engine import Size, Step
from impasto.options import Run
from impasto.recipes.checks import slim_encoder
from impasto.runtime.devices import seconds_now
from impasto.tensors import FeatureMap, Features, Image, Mask

MULTIPLE_PX = 2 * CELL_PX
"""Sides of the pictures that are encoded are multiples of this."""
SMALLEST_PX = 64
"""Longer side of the first size."""
_ITERATIONS = (8, 5, 3, 2)
"""Iterations at each size, coarse to fine; the last number also applies to all further sizes."""
_DIRECTIONS = 32
_WHOLE = 0.95
"""Mask value above which a position may be copied."""
_LEAST_USE = 0.05
"""Minimum of ``expected`` for positions with a rare label. It limits the penalty for copying such a position many times."""
_HALO = 32
"""If a picture wraps, it is encoded together with this many pixels from the opposite edge."""


class GuideRows(NamedTuple):
    """A guide at one size. The similarity of two positions is the inner product of their rows.

    Attributes:
        examples: (positions of all examples, channels).
        picture: (positions of the picture, channels).
        expected: how often each position of the examples would be copied if all were used evenly; None: unknown.
    """

    examples: Tensor
    picture: Tensor
    expected: Tensor | None = None


class Guide(Protocol):
    """A guide for the matches, in addition to the features of the picture itself."""

    @property
    def weight(self) -> float:
        """Weight of the guide's similarity, which is added to the cosine similarity of the features."""
        ...

    def rows(self, networks: "Networks", examples: Sequence[Size], size: Size) -> GuideRows:
        """Return the guide of the examples and of the picture at a size.

        Args:
            networks: encoder and decoder.
            examples: (height, width) of each example in positions.
            size: (height, width) of the picture in positions.
        """
        ...


@dataclass(frozen=True)
class LabelGuide:
    """Guide matches to positions with the same label.

    Attributes:
        examples: the labels of each example, (1, labels, height, width), one-hot or soft.
        target: the labels of the picture.
        weight: bonus for a position with the same label, which is added to the cosine similarity of the features.
    """

    examples: tuple[FeatureMap, ...]
    target: FeatureMap
    weight: float

    def rows(self, networks: "Networks", examples: Sequence[Size], size: Size) -> GuideRows:
        """Resize the labels; see :class:`Guide`."""
        device, root = networks.arithmetic.device, math.sqrt(self.weight)
        labels = torch.cat([_rows(resize(each.to(device), to)) for each, to in zip(self.examples, examples, strict=True)])
        wanted = _rows(resize(self.target.to(device), size))
        expected = labels @ (wanted.sum(0) / labels.sum(0).clamp_min(1))
        return GuideRows(root * labels, root * wanted, expected)


@dataclass(frozen=True)
class PictureGuide:
    """Guide matches by the features of other pictures: one corresponds to each example, and one to the result.

    Attributes:
        examples: one picture for each example.
        target: the picture that corresponds to the result.
        weight: weight of the guide's similarity, which is added to the cosine similarity of the features.
    """

    examples: tuple[Image, ...]
    target: Image
    weight: float

    def rows(self, networks: "Networks", examples: Sequence[Size], size: Size) -> GuideRows:
        """Compare the features of the pictures; see :class:`Guide`."""
        device, root = networks.arithmetic.device, math.sqrt(self.weight)
        resized = (resize(each.to(device), _pixels(to)) for each, to in zip(self.examples, examples, strict=True))
        columns = [networks.columns(each) for each in resized]
        projection = Projection.of(columns)
        rows = torch.cat([projection.rows(each) for each in columns])
        target = networks.columns(resize(self.target.to(device), _pixels(size)))
        return GuideRows(root * rows, root * projection.rows(target, is_centered=True))


@dataclass(frozen=True)
class Networks:
    """The encoder and the decoder of guided synthesis, on one device.

    Attributes:
        encoder: the shipped encoder.
        decoder: the decoder for the features of the matches.
        arithmetic: device and precision.
    """

    encoder: Vgg
    decoder: Decoder
    arithmetic: Arithmetic

    @staticmethod
    def load(run: Run) -> "Networks":
        """Load the shipped networks for a run."""
        encoder = slim_encoder()
        arithmetic = choose_arithmetic(run, encoder)
        return Networks(encoder, load_decoder(shipped_decoder()).to(arithmetic.device), arithmetic)

    def encode(self, image: Image) -> Features:
        """Encode a picture without gradients; its sides must be multiples of :data:`MULTIPLE_PX`."""
        with torch.no_grad():
            return self.arithmetic.encode(self.encoder, image, frozenset((*SWAP_LAYERS, *SEARCH_LAYERS)))

    def columns(self, image: Image) -> FeatureMap:
        """Return the hypercolumns of a picture, one for each position."""
        return search_columns(self.encode(image), self.decoder.spread).float()

    def decode(self, rows: Tensor, size: Size, *, wraps: bool) -> Image:
        """Decode features (positions, channels) that lie on a grid.

        Returns:
            The picture, (1, 3, 4 * height, 4 * width) in [0, 1].
        """
        places = torch.arange(len(rows), device=rows.device).reshape(size)
        halo = _HALO // CELL_PX if wraps else 0
        if wraps:
            places = _wrapped(places, halo)
        bf16 = self.arithmetic.precision == "bf16"
        with torch.no_grad(), torch.autocast(rows.device.type, torch.bfloat16, enabled=bf16):
            image = decoded(self.decoder, rows, places)
        edge = CELL_PX * halo
        return image[..., edge : image.shape[-2] - edge, edge : image.shape[-1] - edge]


@dataclass(frozen=True)
class Projection:
    """Principal directions onto which hypercolumns are projected before they are compared.

    Attributes:
        mean: (channels,), subtracted from hypercolumns before they are projected.
        basis: (channels, directions).
    """

    mean: Tensor
    basis: Tensor

    @staticmethod
    def of(columns: Sequence[FeatureMap]) -> "Projection":
        """Find the principal directions of the hypercolumns of all examples."""
        rows = torch.cat([_rows(each) for each in columns])
        mean = rows.mean(0)
        return Projection(mean, leading(rows - mean, _DIRECTIONS, torch.Generator().manual_seed(0)))

    def rows(self, columns: FeatureMap, *, wraps: bool = False, is_centered: bool = False) -> Tensor:
        """Return the projected 3 × 3 neighborhoods as unit vectors, one in each row.

        Args:
            columns: hypercolumns, (1, channels, height, width).
            wraps: whether the picture continues at the opposite edge.
            is_centered: subtract the mean of these hypercolumns instead of ``self.mean``. Use this for pictures whose colors
                differ from those of the examples.
        """
        rows = _rows(columns)
        along = (rows - (rows.mean(0) if is_centered else self.mean)) @ self.basis
        return rows_of_neighborhoods(along.T.reshape(1, -1, *columns.shape[-2:]), wraps=wraps)


@dataclass(frozen=True)
class Synthesis:
    """The inputs and settings of a synthesis.

    Attributes:
        examples: pictures to copy from, (1, 3, height, width), at their size in the result.
        size: (height, width) of the result, multiples of :data:`MULTIPLE_PX`.
        guide: the guide for the matches; None: no guide.
        allowed: a mask for each example, (1, 1, height, width), 1 where it may be copied; None: everywhere.
        known: a picture with the size of the result, and a mask that is 1 where this picture is kept.
        content: a picture with the size of the result. Before matching, the current picture is mixed with it.
        content_weight: the share of the content in this mixture, 0 to 1.
        start: a picture with the size of the result. The first field is made of its nearest matches.
            None: see :meth:`_Level.initial`.
        coherence: see :class:`impasto.features.fields.FieldSearch`.
        usage: see :class:`impasto.features.fields.FieldSearch`.
        wraps: whether the result continues at the opposite edge.
        seed: seed of the random generators.
    """

    examples: tuple[Image, ...]
    size: Size
    guide: Guide | None = None
    allowed: tuple[Mask | None, ...] = ()
    known: tuple[Image, Mask] | None = None
    content: Image | None = None
    content_weight: float = 0.5
    start: Image | None = None
    coherence: float = 0.05
    usage: float = 1.0
    wraps: bool = False
    seed: int = 0

    @property
    def sizes(self) -> list[Size]:
        """The sizes, coarse to fine, in pixels."""
        count = max(0, math.floor(math.log2(max(1.0, max(self.size) / SMALLEST_PX))))
        return [_multiples(self.size[0] / 2**power, self.size[1] / 2**power) for power in range(count, -1, -1)]


def synthesized(asked: Synthesis, networks: Networks) -> Iterator[Step]:
    """Synthesize a picture, and yield every iteration. Stop iterating to cancel.

    Args:
        asked: the inputs and settings.
        networks: encoder and decoder.

    Yields:
        Steps whose ``image`` is (1, 3, height, width), at the size being synthesized.
    """
    began, sizes = seconds_now(), asked.sizes
    counts = [_ITERATIONS[min(scale, len(_ITERATIONS) - 1)] for scale in range(len(sizes))]
    work = [count * height * width for count, (height, width) in zip(counts, sizes, strict=True)]
    generator, number, done = torch.Generator().manual_seed(asked.seed), 0, 0.0
    level: _Level | None = None
    for scale, size in enumerate(sizes):
        level = _Level.at(asked, networks, size, level, generator)
        for _ in range(counts[scale]):
            losses = level.iterate()
            number, done = number + 1, done + work[scale] / counts[scale]
            seconds = seconds_now() - began
            left = seconds * (sum(work) - done) / done
            yield Step(number, sum(counts), scale, size, losses, level.image, seconds, left)


@dataclass
class _Level:
    """The state at one size.

    Attributes:
        matches: the field. It contains, for each position of the picture, the example position that is copied there.
        image: the picture decoded from the field.
    """

    asked: Synthesis
    networks: Networks
    size: Size
    search: FieldSearch
    bank: Bank
    blocks: Tensor
    projection: Projection
    guide: GuideRows | None
    matches: Tensor = field(default_factory=lambda: torch.zeros(0))
    image: Image = field(default_factory=lambda: torch.zeros(0))

    @staticmethod
    def at(asked: Synthesis, networks: Networks, size: Size, before: "_Level | None", generator: torch.Generator) -> "_Level":
        """Encode the examples at a size, and enlarge the field of the previous size or create an initial field."""
        share, device = max(size) / max(asked.size), networks.arithmetic.device
        pictures = [resized_example(each.to(device), share) for each in asked.examples]
        features = [networks.encode(each) for each in pictures]
        columns = [search_columns(each, networks.decoder.spread).float() for each in features]
        projection = Projection.of(columns)
        sizes = tuple((each.shape[-2], each.shape[-1]) for each in columns)
        grid = (size[0] // CELL_PX, size[1] // CELL_PX)
        keys, guide = torch.cat([projection.rows(each) for each in columns]), None
        allowed = _allowed(asked, sizes).to(device)
        expected = _even_use(allowed, sizes, grid)
        if asked.guide:
            guide = asked.guide.rows(networks, sizes, grid)
            keys = torch.cat([keys, guide.examples], 1)
            expected = expected if guide.expected is None else guide.expected.clamp_min(_LEAST_USE)
        bank = Bank(keys, sizes, allowed, expected)
        blocks = torch.cat([blocks_of(each).float() for each in features])
        precision = torch.bfloat16 if networks.arithmetic.precision == "bf16" else torch.float32
        search = FieldSearch(generator, asked.coherence, asked.usage, asked.wraps, precision)
        level = _Level(asked, networks, size, search, bank, blocks, projection, guide)
        level.matches = level.initial() if before is None else enlarged(before.matches, before.bank, bank, grid)
        level.image = level.painted()
        return level

    def iterate(self) -> dict[str, float]:
        """Match the current picture, and decode the matches.

        Returns:
            ``mismatch``, the mean cosine distance of the features, and ``guide``, the mean distance of the guide. With labels,
            the latter is the share of positions copied from a place with another label.
        """
        queries = self.queries()
        self.matches = searched(queries, self.matches, self.bank, self.search)
        self.image = self.painted()
        own = self.bank.keys.shape[1] - (0 if self.guide is None else self.guide.picture.shape[1])
        products = queries * self.bank.keys[self.matches.flatten()]
        losses = {"mismatch": 1 - float(products[:, :own].sum(1).mean())}
        if self.guide is not None and self.asked.guide is not None and self.asked.guide.weight:
            losses["guide"] = 1 - float(products[:, own:].sum(1).mean()) / self.asked.guide.weight
        return losses

    def initial(self) -> Tensor:
        """Return the first field.

        The field contains the nearest matches of the start or, if there is no start, of the content and the guide picture.
        Without any of these, it consists of random blocks.
        """
        if self.asked.start is not None:
            columns = self.networks.columns(resize(self.asked.start.to(self.blocks), self.size))
            queries = F.pad(self.projection.rows(columns), (0, 0 if self.guide is None else self.guide.picture.shape[1]))
            return evenly_nearest(queries, self.bank, 0.0, self.search.precision)[0].reshape(self.grid)
        if self.asked.content is None and not isinstance(self.asked.guide, PictureGuide):
            blocks = random_blocks(self.bank, self.guide and self.guide[:2], self.grid, self.search.generator)
            return torch.roll(blocks, (2, 2), (0, 1)) if self.asked.wraps else blocks  # no edge of a block lies on the seam
        queries = torch.zeros(math.prod(self.grid), self.bank.keys.shape[1], device=self.bank.keys.device)
        if self.asked.content is not None:
            columns = self.networks.columns(resize(self.asked.content.to(queries), self.size))
            rows = self.projection.rows(columns, is_centered=True)
            queries[:, : rows.shape[1]] = rows
        if self.guide is not None:
            queries[:, queries.shape[1] - self.guide.picture.shape[1] :] = self.guide.picture
        return evenly_nearest(queries, self.bank, 0.0, self.search.precision)[0].reshape(self.grid)

    @property
    def grid(self) -> Size:
        """The size in positions."""
        return self.size[0] // CELL_PX, self.size[1] // CELL_PX

    def queries(self) -> Tensor:
        """Return the features and the guide of the current picture."""
        image, edge = self.image, _HALO // CELL_PX
        if self.asked.content is not None:
            image = torch.lerp(image, resize(self.asked.content.to(image), self.size), self.asked.content_weight)
        if self.asked.wraps:
            image = F.pad(image, (_HALO,) * 4, mode="circular")
        columns = self.networks.columns(image)
        if self.asked.wraps:
            columns = columns[..., edge:-edge, edge:-edge]
        rows = self.projection.rows(columns, wraps=self.asked.wraps)
        return rows if self.guide is None else torch.cat([rows, self.guide.picture], 1)

    def painted(self) -> Image:
        """Decode the field, and restore the known part."""
        rows = votes(self.blocks, self.matches, self.bank, wraps=self.asked.wraps)
        image = self.networks.decode(rows, self.grid, wraps=self.asked.wraps)
        if self.asked.known is None:
            return image
        picture, mask = (resize(each.to(image), self.size) for each in self.asked.known)
        return torch.lerp(image, picture, mask)


# ---------------------------------------------------------------------------------------------------- sizes and rows


def resized_example(picture: Image, share: float) -> Image:
    """Resize an example for a size, to multiples of :data:`MULTIPLE_PX`.

    Args:
        picture: the example at the final size, (1, 3, height, width).
        share: the current size divided by the final size.
    """
    return resize(picture, _multiples(share * picture.shape[-2], share * picture.shape[-1]))


def _multiples(height: float, width: float) -> Size:
    """Round a size to multiples of :data:`MULTIPLE_PX`; each side is at least two multiples long."""
    down, across = (MULTIPLE_PX * max(2, round(side / MULTIPLE_PX)) for side in (height, width))
    return down, across


def _pixels(grid: Size) -> Size:
    return CELL_PX * grid[0], CELL_PX * grid[1]


def _rows(features: FeatureMap) -> Tensor:
    return features[0].flatten(1).T


def _wrapped(places: Tensor, halo: int) -> Tensor:
    """Pad a map of integers with rows and columns from its opposite edges."""
    rows, columns = (torch.arange(-halo, side + halo, device=places.device) % side for side in places.shape)
    return places[rows][:, columns]


def _allowed(asked: Synthesis, sizes: Sequence[Size]) -> Tensor:
    """Return a mask of the positions that may be copied. If no position is wholly in a mask, all are allowed."""
    found = []
    for size, mask in zip(sizes, asked.allowed or (None,) * len(sizes), strict=True):
        allowed = torch.ones(size, dtype=torch.bool) if mask is None else resize(mask.cpu(), size)[0, 0] > _WHOLE
        found.append(allowed.flatten() if bool(allowed.any()) else torch.ones_like(allowed).flatten())
    return torch.cat(found)


def _even_use(allowed: Tensor, sizes: Sequence[Size], grid: Size) -> Tensor:
    """Return how often each position would be copied if all examples, and all positions in each example, were used evenly."""
    parts = allowed.split([height * width for height, width in sizes])
    share = math.prod(grid) / len(sizes)
    return torch.cat([torch.full(part.shape, share / int(part.sum()), device=part.device) for part in parts])
