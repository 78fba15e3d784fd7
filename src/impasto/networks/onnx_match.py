"""The search of :meth:`impasto.features.neighbors.Keys.match` for one style as ONNX nodes.

Maps of positions and queries have the shapes (height, width) and (height, width, directions). The products of queries and keys
are computed for one row of the map at a time, so memory is needed for the products of one row, not of all positions. There are
few patches, so their products are computed at once.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from impasto.features.neighbors import AROUND, PASSES, PERIOD, SHIFTS, Keys, Patches, patch_ranks
from impasto.networks.onnx_graph import Graph, numbers, onnx_package

_TINY = 1e-8


def matched(g: Graph, columns: str, keys: Keys, patches: Patches, tolerance: str, coherence: float) -> str:
    """Add nodes that match every position of a photo with a position of a style.

    Args:
        g: the graph.
        columns: hypercolumns of the photo, (1, channels, height, width).
        keys: the positions of one style picture, all of which may be used.
        patches: settings of patches; only ``side`` and ``variety`` are used.
        tolerance: the tolerance of :class:`impasto.features.neighbors.Patches` at each position, (height, width).
        coherence: see :meth:`impasto.features.neighbors.Keys.match`.

    Returns:
        The position of each match, (height, width).
    """
    search = _Search(g, keys, _queries(g, columns, keys), g.floats(numbers(keys.keys)))
    position = search.patched(search.nearest(), patches, tolerance)
    for _ in range(PASSES):
        position = search.coherent(position, coherence)
    return position


def _queries(g: Graph, columns: str, keys: Keys) -> str:
    """Center hypercolumns, project them and scale them to length 1: (height, width, directions)."""
    centered = g.node("Sub", columns, g.node("ReduceMean", columns, g.integers(2, 3)))
    rows = g.node("MatMul", g.node("Transpose", centered, perm=[0, 2, 3, 1]), g.floats(numbers(keys.basis)))
    return g.node("Squeeze", _unit(g, rows), g.integers(0))


def _unit(g: Graph, rows: str) -> str:
    return g.node("Div", rows, g.node("Max", g.node("ReduceL2", rows, g.integers(-1)), g.floats(_TINY)))


@dataclass(frozen=True)
class _Search:
    """A graph, the keys of the style, and the names of the queries and of the keys in the graph."""

    g: Graph
    source: Keys
    queries: str
    keys: str

    def nearest(self) -> str:
        """Return the nearest position for each query."""
        g = self.g
        places, stride = self.source.sparse(0)
        sparse = g.constant(places.numpy())
        index = self._most_similar(self.queries, g.node("Transpose", g.node("Gather", self.keys, sparse), perm=[1, 0]))
        position = g.node("Gather", sparse, index)
        similarity, reach = self._similarity(position), stride // 2
        while reach:
            row, column = self._places(position)
            for down, across in AROUND:
                beside = self._inside(g.node("Add", row, g.integers(reach * down)), 0)
                candidate = self._joined(beside, self._inside(g.node("Add", column, g.integers(reach * across)), 1))
                cosine = self._similarity(candidate)
                better = self._allowed(candidate, g.node("Greater", cosine, similarity))
                position = g.node("Where", better, candidate, position)
                similarity = g.node("Where", better, cosine, similarity)
            reach //= 2
        return position

    def patched(self, position: str, patches: Patches, tolerance: str) -> str:
        """Copy patches of the style where they are similar enough."""
        g, side = self.g, self.g.integers(patches.side)
        found = self.source.patches(0, patches.side)
        best = self._chosen(self._means(patches), found.keys, patches)
        across, step = g.integers(found.across), g.integers(found.step)
        corner = (g.node("Mul", g.node(kind, best, across), step) for kind in ("Div", "Mod"))
        height, width = (_counted(g, self.queries, axis) for axis in (0, 1))
        offsets = (g.node("Unsqueeze", g.node("Mod", height, side), g.integers(1)), g.node("Mod", width, side))
        of_row, of_column = (g.node("Div", each, side) for each in (height, width))
        copied = [
            self._inside(g.node("Add", g.node("Gather", g.node("Gather", each, of_row), of_column, axis=1), offset), axis)
            for axis, (each, offset) in enumerate(zip(corner, offsets, strict=True))
        ]
        candidate = self._joined(*copied)
        gain = g.node("Sub", self._similarity(candidate), self._similarity(position))
        accepted = self._allowed(candidate, g.node("Greater", g.node("Add", gain, tolerance), g.floats(0.0)))
        return g.node("Where", accepted, candidate, position)

    def coherent(self, position: str, coherence: float) -> str:
        """Prefer positions that are adjacent to the matches of neighbors."""
        g, (height, width) = self.g, self.source.sizes[0]
        edged = g.node("Pad", position, g.integers(1, 1, 1, 1), g.integers(-1))
        candidates = [position]
        for down, across in SHIFTS:
            edges = g.node("Add", g.node("Shape", position), g.integers(1 - down, 1 - across))
            beside = g.node("Slice", edged, g.integers(1 - down, 1 - across), edges)
            row, column = self._places(beside)
            row, column = g.node("Add", row, g.integers(down)), g.node("Add", column, g.integers(across))
            inside = g.node("Greater", beside, g.integers(-1))
            for each, size in ((row, height), (column, width)):
                inside = g.node("And", inside, g.node("Greater", each, g.integers(-1)))
                inside = g.node("And", inside, g.node("Less", each, g.integers(size)))
            moved = g.node("Where", inside, self._joined(row, column), position)
            candidates.append(g.node("Where", self._allowed(moved), moved, position) if self._is_limited else moved)
        return self._best(candidates, coherence)

    @property
    def _is_limited(self) -> bool:
        """Whether some positions of the style must not be used."""
        return not bool(self.source.allowed.all())

    def _allowed(self, position: str, condition: str = "") -> str:
        """Return where a condition holds, if there is one, and where the positions may be used."""
        if not self._is_limited and condition:
            return condition
        allowed = self.g.node("Gather", self.g.constant(self.source.allowed.numpy()), position)
        return self.g.node("And", condition, allowed) if condition else allowed

    def _best(self, candidates: list[str], coherence: float) -> str:
        """Choose, at each position, the candidate with the best sum of cosine and bonus."""
        g = self.g
        scores = []
        for each in candidates:
            equal = [g.node("Cast", g.node("Equal", each, other), to=g.FLOAT) for other in candidates[1:]]
            bonus = g.node("Mul", g.node("Sum", *equal), g.floats(coherence))
            scores.append(g.node("Unsqueeze", g.node("Add", self._similarity(each), bonus), g.integers(0)))
        chosen = g.node("ArgMax", g.node("Concat", *scores, axis=0), axis=0, keepdims=1)
        choices = g.node("Concat", *(g.node("Unsqueeze", each, g.integers(0)) for each in candidates), axis=0)
        return g.node("Squeeze", g.node("GatherElements", choices, chosen, axis=0), g.integers(0))

    def _means(self, patches: Patches) -> str:
        """Return the mean query of each patch, scaled to length 1: (down, across, directions)."""
        g, side = self.g, patches.side
        grid = g.node("Unsqueeze", g.node("Transpose", self.queries, perm=[2, 0, 1]), g.integers(0))
        sides = g.node("Shape", grid, start=2)
        missing = g.node("Mod", g.node("Neg", sides), g.integers(side))
        grid = g.node("Pad", grid, g.node("Concat", g.integers(0, 0, 0, 0, 0, 0), missing, axis=0))  # the length is scaled to 1
        means = g.node("AveragePool", grid, kernel_shape=[side, side], strides=[side, side])
        return _unit(g, g.node("Transpose", g.node("Squeeze", means, g.integers(0)), perm=[1, 2, 0]))

    def _chosen(self, means: str, keys: Tensor, patches: Patches) -> str:
        """Choose one of the most similar patches of the style for each mean query: (down, across)."""
        g, choices = self.g, patches.choices(keys.shape[1])
        columns = g.floats(numbers(keys))
        best = g.node("ArgMax", g.node("MatMul", means, columns), axis=2, keepdims=0)
        pairs = g.node("Add", means, g.node("Gather", g.node("Transpose", columns, perm=[1, 0]), best))
        similar = g.nodes_out(2, "TopK", g.node("MatMul", pairs, columns), g.integers(choices))[1]
        ranks = g.constant((patch_ranks() % choices).numpy())
        for axis in (0, 1):
            ranks = g.node("Gather", ranks, g.node("Mod", _counted(g, means, axis), g.integers(PERIOD)), axis=axis)
        return g.node(
            "Squeeze", g.node("GatherElements", similar, g.node("Unsqueeze", ranks, g.integers(2)), axis=2), g.integers(2)
        )

    def _most_similar(self, queries: str, keys: str) -> str:
        """Return the column of ``keys`` with the largest product with each of the queries, one row of queries at a time."""
        helper, kinds, name = onnx_package().helper, onnx_package().TensorProto, f"row_{len(self.g.nodes)}"
        columns = helper.make_tensor_value_info(f"{name}_keys", kinds.FLOAT, [self.source.keys.shape[1], "keys"])
        same = helper.make_tensor_value_info(f"{name}_same_keys", kinds.FLOAT, [self.source.keys.shape[1], "keys"])
        row = helper.make_tensor_value_info(name, kinds.FLOAT, ["across", self.source.keys.shape[1]])
        best = helper.make_tensor_value_info(f"{name}_best", kinds.INT64, ["across"])
        nodes = [
            helper.make_node("Identity", [columns.name], [same.name]),
            helper.make_node("MatMul", [row.name, columns.name], [f"{name}_products"]),
            helper.make_node("ArgMax", [f"{name}_products"], [best.name], axis=1, keepdims=0),
        ]
        # The keys are a state that never changes, because OpenVINO cannot use values from outside the body.
        body = helper.make_graph(nodes, name, [columns, row], [same, best])
        return self.g.nodes_out(2, "Scan", keys, queries, body=body, num_scan_inputs=1)[1]

    def _similarity(self, position: str) -> str:
        """Return the cosine between each query and the key at its position."""
        g = self.g
        return g.node(
            "ReduceSum", g.node("Mul", self.queries, g.node("Gather", self.keys, position)), g.integers(-1), keepdims=0
        )

    def _places(self, position: str) -> tuple[str, str]:
        """Return the row and the column of positions that are not negative."""
        width = self.g.integers(self.source.sizes[0][1])
        return self.g.node("Div", position, width), self.g.node("Mod", position, width)

    def _joined(self, row: str, column: str) -> str:
        g = self.g
        return g.node("Add", g.node("Mul", row, g.integers(self.source.sizes[0][1])), column)

    def _inside(self, places: str, axis: int) -> str:
        """Limit rows (axis 0) or columns (axis 1) to the style picture."""
        g = self.g
        return g.node("Max", g.node("Min", places, g.integers(self.source.sizes[0][axis] - 1)), g.integers(0))


def _counted(g: Graph, values: str, axis: int) -> str:
    """Return 0, 1, 2 … up to the size of an axis."""
    count = g.node("Squeeze", g.node("Shape", values, start=axis, end=axis + 1))
    return g.node("Range", g.constant(np.asarray(0, np.int64)), count, g.constant(np.asarray(1, np.int64)))
