"""Parametrizations of a picture: conversion to planes and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto.losses.picture import luminance_of
from impasto.optim.parametrization import to_image, to_planes

sizes = st.tuples(st.integers(2, 9), st.integers(2, 9))


def picture(seed: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(seed))


def test_pixel_planes_are_a_copy_of_the_picture() -> None:
    image = picture(0, (3, 5))
    (plane,) = to_planes(image, "pixels")
    assert torch.equal(plane, image)
    assert plane.data_ptr() != image.data_ptr()
    assert to_image([plane], "pixels") is plane


@given(sizes)
def test_soft_chroma_has_luma_at_full_size_and_color_at_half_size(size: tuple[int, int]) -> None:
    light, color = to_planes(picture(0, size), "soft-chroma")
    assert light.shape == (1, 1, *size)
    assert color.shape == (1, 2, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert to_image([light, color], "soft-chroma").shape == (1, 3, *size)


@given(st.integers(0, 99), sizes)
def test_soft_chroma_preserves_the_luma_of_every_pixel(seed: int, size: tuple[int, int]) -> None:
    image = picture(seed, size)
    back = to_image(to_planes(image, "soft-chroma"), "soft-chroma")
    torch.testing.assert_close(luminance_of(back), luminance_of(image), atol=1e-6, rtol=0)


@given(st.tuples(*[st.floats(0, 1)] * 3), sizes)
def test_soft_chroma_preserves_a_picture_of_one_color(color: tuple[float, float, float], size: tuple[int, int]) -> None:
    image = torch.tensor(color)[None, :, None, None].expand(1, 3, *size)
    torch.testing.assert_close(to_image(to_planes(image, "soft-chroma"), "soft-chroma"), image, atol=1e-6, rtol=0)


def test_soft_chroma_preserves_a_gray_picture() -> None:
    image = picture(0, (7, 6))[:, :1].expand(1, 3, 7, 6)
    torch.testing.assert_close(to_image(to_planes(image, "soft-chroma"), "soft-chroma"), image, atol=1e-6, rtol=0)


def test_soft_chroma_cannot_represent_color_noise_of_single_pixels() -> None:
    noise = picture(0, (32, 32))
    color = noise - luminance_of(noise)
    back = to_image(to_planes(noise, "soft-chroma"), "soft-chroma")
    kept = back - luminance_of(back)
    assert float(kept.var()) < 0.35 * float(color.var())


@pytest.mark.parametrize("canvas", ["pixels", "soft-chroma"])
def test_every_plane_has_a_gradient(canvas: str) -> None:
    planes = [plane.requires_grad_() for plane in to_planes(picture(0, (5, 4)), canvas)]  # type: ignore[arg-type]
    to_image(planes, canvas).square().sum().backward()  # type: ignore[arg-type]
    assert all(plane.grad is not None and bool((plane.grad != 0).any()) for plane in planes)


@given(st.integers(0, 99), sizes)
def test_a_laplacian_pyramid_reconstructs_the_picture(seed: int, size: tuple[int, int]) -> None:
    image = picture(seed, size)
    planes = to_planes(image, "laplacian")
    torch.testing.assert_close(to_image(planes, "laplacian"), image, atol=1e-5, rtol=0)


def test_each_plane_of_a_laplacian_pyramid_has_half_the_size() -> None:
    planes = to_planes(picture(0, (40, 24)), "laplacian")
    assert [plane.shape[-2:] for plane in planes] == [(40, 24), (20, 12), (10, 6), (5, 3), (3, 2)]


def test_a_flat_picture_is_entirely_in_the_last_plane() -> None:
    *details, last = to_planes(torch.full((1, 3, 32, 32), 0.3), "laplacian")
    assert all(float(plane.abs().max()) < 1e-6 for plane in details)
    torch.testing.assert_close(last, torch.full_like(last, 0.3))
