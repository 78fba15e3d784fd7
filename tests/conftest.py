"""Fixtures for all tests: no network, a temporary home folder, a fixed number of threads, a small photo."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from hypothesis import settings

from impasto.encoders import Vgg

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("impasto", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("impasto")

signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes of a shell ignore it
torch.set_num_threads(min(2, torch.get_num_threads()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked gpu where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _temporary_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    monkeypatch.setenv("IMPASTO_CACHE", str(home / "impasto"))
    monkeypatch.setenv("IMPASTO_STYLES", str(home / "styles"))


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Restore the number of threads, which commands set."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Allow only local connections; a test that tries to connect elsewhere fails."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guard(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.lower() not in ("localhost", "::1", "0.0.0.0", "::", "none", "") and not name.startswith("127."):
            raise RuntimeError(f"a test tried to use the network: {name}")

    def guard_address(sock: socket.socket, address: Any) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            guard(address[0])

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        guard_address(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        guard_address(sock, address)
        return connect_ex(sock, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        guard(host)
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of benchmark data: IMPASTO_SHARED, or the folder next to the repository; without it, the test is skipped."""
    folder = Path(os.environ.get("IMPASTO_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name} next to the repository, and IMPASTO_SHARED is not set")
    return folder


@pytest.fixture(scope="session")
def _astronaut() -> torch.Tensor:
    pixels = torch.from_numpy(skimage.data.astronaut()[:384, 32:416]).permute(2, 0, 1)[None].float() / 255
    return torch.nn.functional.interpolate(pixels, size=(96, 96), mode="bilinear", antialias=True, align_corners=False)


@pytest.fixture
def photo(_astronaut: torch.Tensor) -> torch.Tensor:
    """A small photo of a face: (1, 3, 96, 96), float, sRGB in [0, 1]; each test has its own copy."""
    return _astronaut.clone()


@pytest.fixture
def random() -> torch.Generator:
    """A generator with the same seed in every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def narrow() -> Callable[..., Vgg]:
    """Make a VGG with few channels and weights from a formula, identical on every machine; takes the arguments of ``Vgg``."""

    def make(**options: Any) -> Vgg:
        vgg = Vgg((4, 5, 6, 7, 8), **options).requires_grad_(False)
        for index, (name, values) in enumerate(vgg.state_dict().items()):
            waves = torch.sin(torch.arange(values.numel(), dtype=torch.float64) * 12.9898 + index) * 43758.5453
            spread = 3.4 * (2 / values[0].numel()) ** 0.5 if values.ndim > 1 else 0.2
            values.copy_(((waves - waves.floor() - 0.5) * spread).reshape(values.shape))
            if name in ("mean", "std"):
                values.fill_(0.45 if name == "mean" else 0.226)
        return vgg

    return make
