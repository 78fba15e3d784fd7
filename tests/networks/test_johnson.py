"""The network of a brush: sizes, borders, tiles, and no lattice."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto.metrics.artifacts import lattice
from impasto.networks.johnson import LAYOUTS, Johnson, Layout, empty_network
from impasto.runtime.tiling import painted_in_tiles

RESIZED = Layout(4, blocks=1, ends=5)
TRANSPOSED = Layout(4, blocks=1, border="zero", upsampling="transposed", output="tanh", epsilon=1e-3)


def random_network(layout: Layout, seed: int = 0) -> Johnson:
    """Make a network with random weights, whose results use most of the range from 0 to 1."""
    random = torch.Generator().manual_seed(seed)
    network = Johnson(layout)
    for name, values in network.named_parameters():
        spread = (2 / values[0].numel()) ** 0.5 if values.ndim > 1 else 0.2
        values.data.normal_(float(name.endswith("norm.weight")), spread, generator=random)
    return network.eval().requires_grad_(False)


def photo(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
@pytest.mark.parametrize("layout", [RESIZED, TRANSPOSED])
@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70))
def test_the_result_has_the_size_of_the_photo_for_any_size(layout: Layout, height: int, width: int) -> None:
    painted = random_network(layout)(photo(height, width))
    assert painted.shape == (1, 3, height, width)
    assert painted.isfinite().all()


@pytest.mark.parametrize(("name", "count"), [("full", 1_680_000), ("medium", 270_000), ("small", 70_000)])
def test_named_layouts_have_the_published_number_of_weights(name: str, count: int) -> None:
    weights = sum(each.numel() for each in empty_network(LAYOUTS[name]).parameters())
    assert weights == pytest.approx(count, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [RESIZED, TRANSPOSED, *LAYOUTS.values()])
def test_a_pixel_depends_on_no_pixels_beyond_the_halo_and_on_most_within_it(layout: Layout) -> None:
    network = random_network(layout)
    halo, side = network.halo_px, 2 * network.halo_px + 32
    network = network.with_statistics_of(photo(side, side))
    reach = 0
    for middle in range(side // 2, side // 2 + 4):  # the network reduces four pixels to one, so each of four differs
        given = photo(side, side).requires_grad_(True)
        network(given)[0, :, middle, middle].sum().backward()
        assert given.grad is not None
        rows = given.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
        reach = max(reach, middle - int(rows.min()), int(rows.max()) - middle)
    assert halo - 12 <= reach <= halo


@pytest.mark.parametrize("layout", [RESIZED, TRANSPOSED])
@pytest.mark.parametrize("size", [(128, 160), (131, 157)])
def test_tiles_with_given_statistics_agree_with_the_whole(layout: Layout, size: tuple[int, int]) -> None:
    whole = photo(*size)
    network = random_network(layout).with_statistics_of(whole)
    tiled = whole.clone()
    for _ in painted_in_tiles(tiled, lambda tile, _: network(tile), 64, network.halo_px):
        pass
    assert (tiled - network(whole)).abs().max() < 1e-4


@pytest.mark.parametrize("layout", [RESIZED, TRANSPOSED])
def test_a_photos_own_statistics_give_the_same_picture(layout: Layout) -> None:
    network, given = random_network(layout), photo(40, 52)
    assert (network.with_statistics_of(given)(given) - network(given)).abs().max() < 1e-4


def test_fixed_statistics_leave_the_original_network_unchanged() -> None:
    network = random_network(RESIZED)
    before = network(photo(32, 32, seed=1))
    network.with_statistics_of(photo(32, 32))
    assert torch.equal(network(photo(32, 32, seed=1)), before)


def test_a_flat_photo_gives_no_lattice_unlike_transposed_convolutions() -> None:
    flat = torch.full((1, 3, 128, 128), 0.4)
    inner = (..., slice(32, -32), slice(32, -32))
    for seed in range(3):
        assert lattice(random_network(RESIZED, seed)(flat)[inner]) < 2
        transposed = RESIZED._replace(upsampling="transposed")
        assert lattice(random_network(transposed, seed)(flat)[inner]) > 100


def test_a_flat_area_in_a_photo_has_no_lattice() -> None:
    network = random_network(LAYOUTS["small"])
    given = photo(160, 256)
    given[..., 128:] = 0.4
    inside = network(given)[..., 40:-40, 128 + network.halo_px : -40]
    assert inside.std((2, 3)).max() < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 10**9},
        {"width": 0},
        {"width": 8.0},
        {"width": True},
        {"blocks": 10**6},
        {"blocks": -1},
        {"ends": 8},
        {"ends": 10**6 + 1},
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
        {"epsilon": "1"},
        {"border": "wrap"},
        {"upsampling": None},
        {"output": ["tanh"]},
    ],
)
def test_a_layout_outside_the_limits_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="layout outside the limits"):
        empty_network(Layout()._replace(**changes))  # type: ignore[arg-type]
