from collections.abc import Callable

import pytest
import torch

from impasto.color.transfer import Affine, color_moments, monge_kantorovich
from impasto.runtime import devices
from impasto.runtime.memory import available_memory
from impasto.runtime.resampling import Side, antialiased, antialiased_part, averaged, averaged_part


@pytest.mark.parametrize("shrink", [antialiased, averaged])
@pytest.mark.parametrize("size", [(7, 5), (16, 2), (20, 31)])
def test_downscaling_by_matrices_equals_downscaling_by_torch(
    shrink: Callable[..., torch.Tensor], size: tuple[int, int], random: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = torch.rand(2, 3, 20, 31, generator=random, requires_grad=True)
    wanted = shrink(given, size)
    (slope,) = torch.autograd.grad(wanted.square().sum(), given)
    monkeypatch.setattr(devices, "COMPLETE", ())
    found = shrink(given, size)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), given)[0], slope)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 62), (33, 47), (10, 16), (7, 90)])
def test_a_part_of_a_resized_picture_equals_that_of_the_whole(
    size: tuple[int, int], mode: str, random: torch.Generator
) -> None:
    given = torch.rand(2, 3, 20, 31, generator=random)
    wanted = torch.nn.functional.interpolate(given, size, mode=mode, antialias=True)
    for rows, columns in (((0, size[0]), (0, size[1])), ((size[0] // 3, size[0] // 2 + 1), (size[1] // 4, size[1]))):
        found = antialiased_part(given, size, (rows, columns), mode)
        torch.testing.assert_close(found, wanted[..., slice(*rows), slice(*columns)], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(5, 7), (6, 31), (20, 8)])
def test_a_part_of_an_averaged_picture_equals_that_of_the_whole(size: tuple[int, int], random: torch.Generator) -> None:
    given = torch.rand(2, 3, 20, 31, generator=random)
    rows, columns = Side(20, size[0], size[0] // 2, size[0]), Side(31, size[1], 0, size[1] - 2)
    found = averaged_part(given[..., 8:, :], (rows, columns), (8, 0))
    torch.testing.assert_close(found, averaged(given, size)[..., size[0] // 2 :, : size[1] - 2])


def test_color_maps_are_computed_on_the_cpu(random: torch.Generator) -> None:
    found = monge_kantorovich(*(color_moments(torch.rand(1, 3, 8, 8, generator=random)) for _ in range(2)))
    assert isinstance(found, Affine)
    assert (found.matrix.dtype, found.bias.dtype) == (torch.float32, torch.float32)


def test_free_memory_includes_torchs_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("mem_get_info", (1000, 9000)), ("memory_reserved", 700), ("memory_allocated", 200)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert available_memory(torch.device("cuda")) == 1500
