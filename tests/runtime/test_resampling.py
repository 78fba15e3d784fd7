from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import impasto
from impasto.color.transfer import Affine, color_moments, monge_kantorovich
from impasto.runtime import resampling
from impasto.runtime.memory import available_memory
from impasto.runtime.resampling import antialiased, averaged

LACKING = ("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward", "_adaptive_avg_pool2d")
"""Operators that Metal lacks or supports only for some sizes."""


class WithoutLacking(TorchDispatchMode):
    """Fail if an operator that Metal lacks is used, except on identity matrices, which are always on the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = function.overloadpacket.__name__
        if name in LACKING and not (args[0].ndim == 4 and args[0].shape[:2] == (1, 1) and args[0].shape[2] == args[0].shape[3]):
            raise AssertionError(f"{name} is not on every device")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute as on a device where PyTorch's own functions are missing."""
    monkeypatch.setattr(resampling, "_NATIVE", ())


@pytest.mark.parametrize("shrink", [antialiased, averaged])
@pytest.mark.parametrize("size", [(7, 5), (16, 2), (20, 31)])
def test_downscaling_by_matrices_equals_downscaling_by_torch(
    shrink: Callable[..., torch.Tensor], size: tuple[int, int], random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = torch.rand(2, 3, 20, 31, generator=random, requires_grad=True)
    wanted = shrink(given, size)
    (slope,) = torch.autograd.grad(wanted.square().sum(), given)
    monkeypatch.setattr(resampling, "_NATIVE", ())
    found = shrink(given, size)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), given)[0], slope)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("recipe", ["neighbors", "gatys", "nnst", "strotss"])
def test_recipes_use_only_operators_that_every_device_supports(recipe: str) -> None:
    photo, style = (np.random.default_rng(seed).random((52, 70, 3)).astype(np.float32) for seed in (0, 1))
    with WithoutLacking():
        image = impasto.paint(
            photo, style, size=70, steps=1, recipe=recipe, run=impasto.Run(device="cpu", precision="fp32")
        ).image
    assert bool(image.isfinite().all())


@pytest.mark.usefixtures("elsewhere")
def test_instant_painting_uses_only_operators_that_every_device_supports() -> None:
    photo, style = (np.random.default_rng(seed).random((52, 70, 3)).astype(np.float32) for seed in (0, 1))
    with WithoutLacking():
        impasto.instant(photo, style, engine="torch", run=impasto.Run(device="cpu", precision="fp32"))


def test_color_maps_are_computed_on_the_cpu(random: torch.Generator) -> None:
    found = monge_kantorovich(*(color_moments(torch.rand(1, 3, 8, 8, generator=random)) for _ in range(2)))
    assert isinstance(found, Affine)
    assert (found.matrix.dtype, found.bias.dtype) == (torch.float32, torch.float32)


def test_free_memory_includes_torchs_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("mem_get_info", (1000, 9000)), ("memory_reserved", 700), ("memory_allocated", 200)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert available_memory(torch.device("cuda")) == 1500


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", ["neighbors", "gatys", "nnst", "strotss"])
def test_recipes_paint_on_a_gpu(recipe: str) -> None:
    photo, style = (np.random.default_rng(seed).random((52, 70, 3)).astype(np.float32) for seed in (0, 1))
    run = impasto.Run(device="cuda", precision="fp32")
    assert bool(impasto.paint(photo, style, size=70, steps=2, recipe=recipe, run=run).image.isfinite().all())


@pytest.mark.gpu
def test_instant_pictures_are_painted_on_a_gpu() -> None:
    photo, style = (np.random.default_rng(seed).random((52, 70, 3)).astype(np.float32) for seed in (0, 1))
    found, wanted = (
        impasto.instant(photo, style, engine="torch", run=impasto.Run(device=device, precision="fp32")).image  # type: ignore[arg-type]
        for device in ("cuda", "cpu")
    )
    assert float((found - wanted).abs().mean()) < 0.02
