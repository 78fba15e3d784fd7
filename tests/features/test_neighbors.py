"""Nearest neighbors between feature maps: columns, matches, coherence, shares."""

import pytest
import torch
from torch import Tensor

from impasto.features.distributions import centered, rows_of, unit
from impasto.features.neighbors import Keys, Patches, grid_size, match, pooled_columns, with_colors
from impasto.features.statistics import Affine
from impasto.losses.neighbors import Neighborhood, NeighborLoss, PaletteLoss
from impasto.recipes.neighbor_layers import VARIETY


def feature_map(height: int, width: int, random: torch.Generator, channels: int = 6) -> Tensor:
    return torch.randn(1, channels, height, width, generator=random)


def nearest_by_hand(queries: Tensor, keys: Tensor) -> Tensor:
    found = unit(centered(rows_of(queries))) @ unit(centered(rows_of(keys))).T
    return found.argmax(1).reshape(queries.shape[-2:])


def agreement(position: Tensor, width: int) -> float:
    """Return the share of positions whose right neighbor is matched to the right of their own match."""
    beside = (position[:, 1:] == position[:, :-1] + 1) & (position[:, :-1] % width < width - 1)
    return float(beside.float().mean())


def test_hypercolumns_average_fine_layers_and_interpolate_coarse_ones() -> None:
    same = Affine(torch.eye(1), torch.zeros(1))
    features = {"relu1_1": torch.arange(64.0).reshape(1, 1, 8, 8), "relu4_1": torch.tensor([[[[5.0]]]])}
    columns = pooled_columns(features, {"relu1_1": same, "relu4_1": same}, (2, 2))
    assert columns.shape == (1, 2, 2, 2)
    assert columns[0, 0, 0, 0] == features["relu1_1"][0, 0, :4, :4].mean()
    assert (columns[0, 1] == 5).all()


@pytest.mark.parametrize("size", [(32, 32), (35, 39), (130, 66)])
def test_layers_of_odd_sizes_are_pooled_to_one_grid(size: tuple[int, int], random: torch.Generator) -> None:
    same = Affine(torch.eye(2), torch.zeros(2))
    features, (height, width) = {}, size
    for block in (1, 2, 3, 4):
        features[f"relu{block}_1"] = feature_map(height, width, random, 2)
        height, width = height // 2, width // 2
    columns = pooled_columns(features, dict.fromkeys(features, same), grid_size(size))
    assert columns.shape == (1, 8, *grid_size(size))


def test_without_coherence_matches_are_nearest_by_cosine(random: torch.Generator) -> None:
    queries, keys = feature_map(9, 7, random), feature_map(11, 13, random)
    found = match(queries, [keys]).position
    exact = nearest_by_hand(queries, keys)
    similarity = unit(centered(rows_of(queries))) @ unit(centered(rows_of(keys))).T
    gap = similarity.gather(1, exact.reshape(-1, 1)) - similarity.gather(1, found.reshape(-1, 1))
    assert float(gap.max()) < 0.02  # the search is in bfloat16


def test_a_picture_matched_with_itself_matches_the_same_positions(random: torch.Generator) -> None:
    queries = feature_map(8, 8, random, 16)
    assert torch.equal(match(queries, [queries]).position, torch.arange(64).reshape(8, 8))


def test_sparse_search_of_a_large_style_is_nearly_as_good_as_exact_search(
    random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = torch.nn.functional.avg_pool2d(feature_map(60, 50, random), 5, 1, 2)
    queries = torch.nn.functional.avg_pool2d(feature_map(40, 40, random), 5, 1, 2)
    similarity = unit(centered(rows_of(queries))) @ unit(centered(rows_of(keys))).T
    best = similarity.max(1).values
    monkeypatch.setattr("impasto.features.neighbors._MOST_KEYS", 400)
    found = match(queries, [keys]).position.flatten()
    assert 0 <= int(found.min()) <= int(found.max()) < 3000
    gap = best - similarity.gather(1, found[:, None])[:, 0]
    assert float(gap.mean()) < 0.05
    assert float((gap > 0.001).float().mean()) > 0.02  # the sparse search was used


def test_reduced_keys_are_those_of_a_search_with_fewer_directions(random: torch.Generator) -> None:
    falling = 0.7 ** torch.arange(24)[:, None, None]  # so that there are leading directions
    first, second, queries = (falling * feature_map(*each, random, 24) for each in ((20, 20), (12, 16), (16, 16)))
    whole, fewer = Keys.of([first, second]), Keys.of([first, second], directions=6, most=100)
    reduced = whole.reduced(6, 100)
    assert reduced.keys.shape == (592, 6)
    torch.testing.assert_close(reduced.keys.norm(dim=1), torch.ones(592))
    assert [reduced.sparse(0)[1], whole.sparse(0)[1]] == [2, 1]
    of_whole, of_reduced, of_fewer = (each.match(queries).position for each in (whole, reduced, fewer))
    assert float((of_reduced == of_fewer).float().mean()) > 0.8 > float((of_reduced == of_whole).float().mean())


def test_coherence_makes_neighboring_matches_adjacent(random: torch.Generator) -> None:
    keys = torch.nn.functional.avg_pool2d(feature_map(24, 24, random), 3, 1, 1)
    queries = keys + 0.2 * feature_map(24, 24, random)
    incoherent, coherent = (match(queries, [keys], coherence=each).position for each in (0.0, 0.1))
    assert agreement(coherent, 24) > agreement(incoherent, 24) + 0.1


def test_a_crop_is_matched_like_the_whole_picture_away_from_its_edges(random: torch.Generator) -> None:
    """So a position at an edge has no neighbor at the opposite edge."""
    keys = torch.nn.functional.avg_pool2d(feature_map(24, 24, random), 3, 1, 1)
    queries = torch.nn.functional.avg_pool2d(feature_map(20, 20, random), 3, 1, 1) + 0.1 * feature_map(20, 20, random)
    mean, styles = queries.mean((0, 2, 3)), Keys.of([keys])
    whole = styles.match(queries, mean=mean, coherence=0.1).position
    alone = styles.match(queries, mean=mean).position
    for cut in (4, 5, 7):
        below, beside = (
            styles.match(q, mean=mean, coherence=0.1).position for q in (queries[..., cut:, :], queries[..., cut:])
        )
        assert torch.equal(below[3:], whole[cut + 3 :])  # three passes reach three positions
        assert torch.equal(beside[:, 3:], whole[:, cut + 3 :])
        above, before = (
            styles.match(q, mean=mean, coherence=0.1).position for q in (queries[..., :-cut, :], queries[..., :-cut])
        )
        assert torch.equal(above[:-3], whole[: -cut - 3])
        assert torch.equal(before[:, :-3], whole[:, : -cut - 3])
    assert float((whole != alone).float().mean()) > 0.1


def test_only_allowed_positions_are_matched(random: torch.Generator) -> None:
    allowed = torch.zeros(10, 10, dtype=torch.bool)
    allowed[2:5, 3:9] = True
    found = match(feature_map(12, 12, random), [feature_map(10, 10, random)], allowed=[allowed], coherence=0.1).position
    assert allowed.flatten()[found].all()


def test_a_style_without_allowed_positions_may_be_used_everywhere(random: torch.Generator) -> None:
    no_position = torch.zeros(6, 6, dtype=torch.bool)
    found = match(feature_map(5, 5, random), [feature_map(6, 6, random)], allowed=[no_position]).position
    assert found.min() >= 0
    assert found.max() < 36


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_each_style_gets_its_share_of_the_picture(share: float, random: torch.Generator) -> None:
    shares = torch.tensor([share, 1 - share])[:, None, None].expand(2, 24, 24)
    found = match(feature_map(24, 24, random), [feature_map(9, 9, random), feature_map(12, 8, random)], shares=shares)
    assert float((found.style == 0).float().mean()) == pytest.approx(share, abs=0.08)
    assert (found.position[found.style == 0] < 81).all()
    assert (found.position[found.style == 1] >= 81).all()


def test_a_style_is_not_used_where_its_share_is_0(random: torch.Generator) -> None:
    shares = torch.zeros(2, 16, 16)
    shares[0, :, :8] = shares[1, :, 8:] = 1
    found = match(feature_map(16, 16, random), [feature_map(9, 9, random)] * 2, shares=shares, coherence=0.1)
    assert (found.style[:, :8] == 0).all()
    assert (found.style[:, 8:] == 1).all()


# ---------------------------------------------------------------------------------------------------- losses


def test_the_neighbor_loss_is_0_at_its_target_and_2_at_the_opposite(random: torch.Generator) -> None:
    features = {"relu3_1": feature_map(4, 4, random)}
    heads = {"relu3_1": Affine(torch.eye(6), torch.zeros(6))}
    target = features["relu3_1"] / features["relu3_1"].norm(dim=1, keepdim=True)
    assert float(NeighborLoss(target, heads)(features)) == pytest.approx(0, abs=1e-6)
    assert float(NeighborLoss(-target, heads)(features)) == pytest.approx(2, abs=1e-6)


def test_the_neighbor_loss_can_be_minimized(random: torch.Generator) -> None:
    heads = {"relu3_1": Affine(torch.eye(6), torch.zeros(6))}
    target = feature_map(4, 4, random)
    loss = NeighborLoss(target / target.norm(dim=1, keepdim=True), heads)
    found = feature_map(4, 4, random).requires_grad_()
    before = loss({"relu3_1": found})
    before.backward()
    assert float(loss({"relu3_1": found.detach() - found.grad})) < float(before.detach())


def test_the_palette_loss_is_0_for_the_styles_own_features(random: torch.Generator) -> None:
    features = feature_map(8, 8, random)
    rows = unit(centered(rows_of(features)))
    loss = PaletteLoss({"relu1_1": Neighborhood(rows, torch.zeros(64, dtype=torch.long))}, {}, random)
    assert float(loss({"relu1_1": features})) == pytest.approx(0, abs=1e-5)
    assert float(loss({"relu1_1": feature_map(8, 8, random)})) > 0.05


def test_the_palette_loss_searches_only_the_style_of_each_part(random: torch.Generator) -> None:
    features = feature_map(8, 8, random)
    rows = unit(centered(rows_of(features)))
    target = {"relu1_1": Neighborhood(torch.cat([rows, -rows]), torch.arange(2).repeat_interleave(64))}
    own, other = (float(PaletteLoss(target, {}, random, torch.full((2, 2), style))({"relu1_1": features})) for style in (0, 1))
    assert own == pytest.approx(0, abs=1e-5)
    assert other > 0.05


def test_the_neighbor_loss_has_the_gradient_of_autograd(random: torch.Generator) -> None:
    heads = {"relu3_1": Affine(torch.eye(6), torch.zeros(6))}
    target = feature_map(5, 4, random)
    target = target / target.norm(dim=1, keepdim=True)
    found = feature_map(5, 4, random).requires_grad_()
    (ours,) = torch.autograd.grad(NeighborLoss(target, heads)({"relu3_1": found}), found)
    (plain,) = torch.autograd.grad(1 - torch.nn.functional.cosine_similarity(found, target).mean(), found)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", [41, 42, 44, 45])
def test_patches_belong_to_the_style_of_their_middle(side: int) -> None:
    """Also if the last patch is cut off before its middle."""
    generator = torch.Generator().manual_seed(0)
    styles = [torch.randn(1, 6, 24, 24, generator=generator) for _ in range(2)]
    picture = torch.randn(1, 6, side, side, generator=generator)
    style = (torch.arange(side)[:, None] // 8 + torch.arange(side)[None] // 8) % 2  # another style for each patch
    patches = Patches(8, tolerance=10.0)
    keys = Keys.of(styles)
    whole = keys.match(picture, mean=torch.zeros(6), patches=patches, style=style).position
    part = keys.match(picture[..., :32, :32], mean=torch.zeros(6), patches=patches, style=style[:32, :32]).position
    assert torch.equal(whole[:32, :32], part)


def test_a_flat_picture_does_not_repeat_one_patch() -> None:
    """Chosen by similarity alone, the same patch is repeated in a regular grid."""
    random = torch.Generator().manual_seed(3)
    keys = Keys.of([torch.rand(1, 3, 60, 60, generator=random)])
    flat = torch.rand(1, 3, 1, 1, generator=random).expand(1, 3, 64, 64)

    def repeated(variety: float) -> float:
        """Return the share of patches that are the same as the one on their left."""
        found = keys.match(flat, mean=torch.zeros(3), patches=Patches(8, tolerance=10.0, variety=variety)).position
        corners = found[::8, ::8]
        return float((corners[:, 1:] == corners[:, :-1]).float().mean())

    assert repeated(0.0) == 1.0
    assert repeated(VARIETY) < 0.3


def test_an_area_of_one_color_is_matched_with_one_color() -> None:
    """By features alone, each position takes the color of whatever position is most similar."""
    random = torch.Generator().manual_seed(5)
    style, picture = (torch.randn(1, 4, 16, 16, generator=random) for _ in range(2))
    colors = torch.zeros(1, 3, 64, 64)
    colors[..., 32:] = 1.5
    colors[..., :32] = -1.5

    def of_other_color(queries: Tensor, keys: Tensor) -> float:
        """Return the share of matches on the other half."""
        right = match(queries, [keys]).position % 16 >= 8
        return float((right != (torch.arange(16) >= 8)).float().mean())

    assert of_other_color(picture, style) > 0.4
    same = Affine(torch.eye(3), torch.zeros(3))
    assert of_other_color(with_colors(picture, colors, same), with_colors(style, colors, same)) < 0.02


def test_uniform_patches_are_preferred() -> None:
    """Without the preference, the patch with an object in it is as similar to the picture as the uniform one."""
    sky, tree = torch.eye(4)[0], torch.eye(4)[1]
    style = torch.zeros(1, 4, 8, 24)
    style[0, :, :, :8] = sky[:, None, None] + 0.6 * tree[:, None, None]  # uniform, and not quite the sky of the picture
    style[0, :, :, 8:] = sky[:, None, None]
    style[0, :, 2:6, 10:14] = tree[:, None, None]
    style[0, :, 2:6, 18:22] = tree[:, None, None]
    picture = (sky + 0.3 * tree)[None, :, None, None].expand(1, 4, 8, 8)
    keys = Keys(
        torch.eye(4),
        style[0].flatten(1).T / style[0].flatten(1).T.norm(dim=1, keepdim=True),
        ((8, 24),),
        torch.ones(192, dtype=torch.bool),
        2**14,
    )

    def columns(uniformity: float) -> torch.Tensor:
        patches = Patches(8, tolerance=10.0, variety=0.0, uniformity=uniformity)
        return (
            keys.match(picture, mean=torch.zeros(4), patches=patches, style=torch.zeros(8, 8, dtype=torch.long)).position % 24
        )

    assert int(columns(0.0).min()) >= 8
    assert torch.equal(columns(2.0)[0], torch.arange(8))
