"""ONNX Runtime for the browser. The studio downloads it once on request, verifies it and serves it.

The size of the download is 33 MB. Its version and hash are fixed. If ``IMPASTO_NPM_REGISTRY`` is set, the studio downloads
from this registry. Otherwise, it uses npm with the user's proxy and registry settings, or the public registry if npm is not
installed. A local file can be used instead.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from impasto.errors import WeightsError
from impasto.runtime.folders import user_folder

NAME, VERSION = "onnxruntime-web", "1.30.0"
FETCHED_BYTES = 33_106_585
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Integrity hash from the npm registry."""

FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""Files to install: first those for the CPU, then those for WebGPU."""

_ARCHIVE = f"{NAME}-{VERSION}.tgz"
_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_SECONDS = 60
_MOST_SECONDS = 900
_CHUNK_BYTES = 1 << 18


def runtime_folder() -> Path:
    """Return the folder of the runtime, in the user's data directory."""
    return user_folder("data", "") / "runtime" / f"{NAME}-{VERSION}"


def runtime_is_here() -> bool:
    """Return whether the runtime is installed."""
    folder = runtime_folder()
    return all((folder / name).is_file() for name in FILES)


def fetch_runtime(file: Path | None = None) -> Path:
    """Download, verify and install the runtime. Do nothing if it is already installed.

    Args:
        file: The package as a local file, or None to download it.

    Returns:
        The folder of the runtime.

    Raises:
        WeightsError: The download failed or its hash is wrong. The message explains how to install the runtime by hand.
    """
    folder = runtime_folder()
    if file is None and runtime_is_here():
        return folder
    if file is None and os.environ.get("IMPASTO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"{NAME} is not installed and impasto is offline; {by_hand()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as made:
            _unpack(_checked(file or _fetched(Path(made))), Path(made) / "ready")
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / "ready").replace(folder)
    except WeightsError:  # handled first, because it is also an OSError
        raise
    except OSError as error:
        raise WeightsError(f"the runtime cannot be written to {folder}: {error.strerror or error}") from error
    return folder


def by_hand() -> str:
    """Return instructions for installing the runtime without an internet connection."""
    return (
        f"download {_ARCHIVE} on another machine ('npm pack {NAME}@{VERSION}') "
        "and run 'impasto studio --fetch-live --from FILE'"
    )


def _fetched(folder: Path) -> Path:
    """Download the package into a folder."""
    npm, registry = shutil.which("npm"), os.environ.get("IMPASTO_NPM_REGISTRY", "")
    if npm and not registry:
        return _packed(npm, folder)
    address = f"{(registry or _REGISTRY).rstrip('/')}/{NAME}/-/{_ARCHIVE}"
    if not address.startswith(("https://", "http://")):
        raise WeightsError(f"IMPASTO_NPM_REGISTRY is {registry!r}; give an address that starts with https://")
    target = folder / _ARCHIVE
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "impasto"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response, target.open("wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                if file.tell() > FETCHED_BYTES:
                    break  # the file is too large; the hash check will fail
    except (OSError, HTTPException) as error:
        raise WeightsError(f"{NAME} could not be downloaded ({getattr(error, 'reason', error)}); {by_hand()}") from error
    return target


def _packed(npm: str, folder: Path) -> Path:
    """Download the package with npm, which uses its own settings for registry, proxy and certificates."""
    words = [npm, "pack", f"{NAME}@{VERSION}", "--ignore-scripts", "--silent", "--pack-destination", "."]
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=_MOST_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise WeightsError(f"{NAME} could not be downloaded with npm; {by_hand()}") from error
    return folder / _ARCHIVE


def _checked(path: Path) -> Path:
    """Verify the hash of the package and return its path.

    Raises:
        WeightsError: The file cannot be read or has the wrong hash.
    """
    try:
        with path.open("rb") as file:
            found = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    except OSError as error:
        raise WeightsError(f"{str(path)!r} cannot be read: {error.strerror or error}; give {_ARCHIVE}") from error
    if found != INTEGRITY:
        raise WeightsError(f"{path.name!r} is not the published {_ARCHIVE} (its hash is {found[:19]}...); {by_hand()}")
    return path


def _unpack(path: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(path, "r:gz") as archive:
        wanted = {f"package/dist/{name}": name for name in FILES}
        for member in archive:
            if member.name in wanted and member.isfile():
                source = archive.extractfile(member)
                assert source is not None
                with source, (folder / wanted[member.name]).open("wb") as target:
                    shutil.copyfileobj(source, target)
    for name in FILES:
        if not (folder / name).is_file():
            raise WeightsError(f"{path.name!r} has no {name}; {by_hand()}")
