"""Nearest-neighbor fields: geometry, search, and averages of overlapping copies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from impasto.features.distributions import most_similar, unit
from impasto.features.fields import (
    Bank,
    FieldSearch,
    enlarged,
    evenly_nearest,
    neighborhoods,
    random_blocks,
    rows_of_neighborhoods,
    searched,
    votes,
)

SIZES = st.tuples(st.integers(5, 12), st.integers(5, 12))


def bank_of(features: Tensor, *more: Tensor, allowed: Tensor | None = None, queries: int = 0) -> Bank:
    examples = (features, *more)
    keys = torch.cat([rows_of_neighborhoods(each) for each in examples])
    sizes = tuple((each.shape[-2], each.shape[-1]) for each in examples)
    allowed = torch.ones(len(keys), dtype=torch.bool) if allowed is None else allowed
    return Bank(keys, sizes, allowed, torch.full((len(keys),), (queries or len(keys)) / len(keys)))


def search(seed: int = 0, **settings: float) -> FieldSearch:
    return FieldSearch(torch.Generator().manual_seed(seed), **settings)  # type: ignore[arg-type]


def noise(height: int, width: int, seed: int = 0, channels: int = 4) -> Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_neighborhoods_stack_the_nine_neighbors_of_a_position() -> None:
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    stacked = neighborhoods(features)
    assert stacked[0, :, 1, 1].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert stacked[0, :, 0, 0].tolist() == [0, 0, 1, 0, 0, 1, 4, 4, 5]
    assert neighborhoods(features, wraps=True)[0, :, 0, 0].tolist() == [11, 8, 9, 3, 0, 1, 7, 4, 5]


@settings(max_examples=20, deadline=None)
@given(SIZES, SIZES, st.integers(0, 99))
def test_splitting_and_joining_positions_are_inverse(first: tuple[int, int], second: tuple[int, int], seed: int) -> None:
    bank = bank_of(noise(*first, seed), noise(*second, seed))
    positions = torch.arange(len(bank.keys))
    example, row, column = bank.split(positions)
    assert torch.equal(bank.join(example, row, column), positions)
    assert int(example.sum()) == math.prod(second)


def test_positions_beyond_the_edge_of_an_example_are_moved_to_its_edge() -> None:
    bank = bank_of(noise(5, 6), noise(7, 8))
    example = torch.tensor([0, 1])
    assert bank.join(example, torch.tensor([9, 9]), torch.tensor([-3, 99])).tolist() == [4 * 6, 30 + 6 * 8 + 7]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_the_exact_search_equals_brute_force(queries: int, keys: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    asked, known = torch.randn(queries, 5, generator=generator), torch.randn(keys, 5, generator=generator)
    penalty = torch.rand(keys, generator=generator)
    expected = ((asked[:, None] * known[None]).sum(-1) - penalty).argmax(1)
    assert torch.equal(most_similar(asked, known, penalty), expected)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(SIZES, SIZES, st.integers(0, 99))
def test_found_positions_are_in_range_and_allowed(size: tuple[int, int], example: tuple[int, int], seed: int) -> None:
    allowed = torch.rand(math.prod(example), generator=torch.Generator().manual_seed(seed)) > 0.5
    allowed[0] = True
    bank = bank_of(noise(*example, seed), allowed=allowed, queries=math.prod(size))
    start = random_blocks(bank, None, size, torch.Generator().manual_seed(seed))
    field = searched(rows_of_neighborhoods(noise(*size, seed + 1)), start, bank, search())
    assert field.shape == size
    assert bool(allowed[field].all())


def test_a_picture_is_found_in_itself() -> None:
    features = noise(12, 10)
    bank = bank_of(features)
    start = torch.zeros(12, 10, dtype=torch.long)
    field = searched(rows_of_neighborhoods(features), start, bank, search(usage=0.0))
    assert torch.equal(field.flatten(), torch.arange(120))


def test_the_approximate_search_is_nearly_as_good_as_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = torch.nn.functional.avg_pool2d(noise(48, 48, channels=8), 5, stride=1)
    bank = bank_of(smooth, queries=40 * 40)
    shifted = smooth[..., 3:43, 2:42]
    queries = rows_of_neighborhoods(shifted + 0.05 * noise(40, 40, 5, channels=8))
    start = torch.arange(44 * 44).reshape(44, 44)[:40, :40]  # three rows and two columns from the best matches
    exact = searched(queries, start, bank, search(usage=0.0))
    monkeypatch.setattr("impasto.features.fields._EXACT", 0)
    found = start
    for _ in range(3):
        found = searched(queries, found, bank, search(usage=0.0))
    best, near, before = (float((queries * bank.keys[each.flatten()]).sum(1).mean()) for each in (exact, found, start))
    assert best - near < 0.1 * (best - before)


def test_usage_makes_copies_more_even() -> None:
    generator = torch.Generator().manual_seed(0)
    keys = unit(torch.randn(100, 6, generator=generator))
    queries = unit(keys[:20].repeat(20, 1) + 0.2 * torch.randn(400, 6, generator=generator))
    bank = Bank(keys, ((10, 10),), torch.ones(100, dtype=torch.bool), torch.full((100,), 4.0))
    (greedy, _), (even, penalty) = (evenly_nearest(queries, bank, usage) for usage in (0.0, 4.0))
    upper = [float((each < 50).float().mean()) for each in (greedy, even)]  # queries resemble the upper rows of the example
    assert upper[1] < 0.8 * upper[0]
    assert bool(penalty.isfinite().all())


def test_an_enlarged_field_copies_the_same_places() -> None:
    before, after = bank_of(noise(6, 6)), bank_of(noise(12, 12))
    identity = torch.arange(36).reshape(6, 6)
    assert torch.equal(enlarged(identity, before, after, (12, 12)).flatten(), torch.arange(144))
    assert enlarged(identity, before, after, (13, 11)).shape == (13, 11)


@pytest.mark.parametrize("wraps", [False, True])
def test_votes_of_a_coherent_field_are_the_copied_rows(wraps: bool) -> None:
    bank = bank_of(noise(6, 8))
    rows = torch.randn(48, 3, generator=torch.Generator().manual_seed(1))
    field = torch.arange(48).reshape(6, 8)
    inner = votes(rows, field, bank, wraps=wraps).reshape(6, 8, 3)[1:-1, 1:-1]
    torch.testing.assert_close(inner, rows.reshape(6, 8, 3)[1:-1, 1:-1])


def test_random_blocks_prefer_places_with_the_same_label() -> None:
    labels = torch.zeros(16, 16, 2)
    labels[:8, :, 0], labels[8:, :, 1] = 1, 1
    wanted = labels.flip(0)
    bank = bank_of(noise(16, 16))
    field = random_blocks(bank, (labels.flatten(0, 1), wanted.flatten(0, 1)), (16, 16), torch.Generator().manual_seed(0))
    assert torch.equal(labels.flatten(0, 1)[field.flatten()].argmax(1), wanted.flatten(0, 1).argmax(1))


def test_an_enlarged_field_copies_only_allowed_positions_and_leaves_no_gap() -> None:
    allowed = torch.zeros(12, 12, dtype=torch.bool)
    allowed[4:9, :5] = True  # odd sides: some positions of the smaller example have no allowed counterpart
    before, after = bank_of(noise(6, 6)), bank_of(noise(12, 12), allowed=allowed.flatten())
    field = enlarged(torch.arange(36).reshape(6, 6), before, after, (12, 12))
    assert bool(after.allowed[field].all())
    assert bool(votes(torch.rand(144, 3), field, after).isfinite().all())
