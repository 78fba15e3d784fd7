"""The catalogue of published weights, and the local cache: fetch, import, verify and find weights by name.

The cache stores each file as ``NAME.weights``, in its original format, next to ``NAME.json`` with its SHA-256, size and origin.
"""

import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

from impasto.errors import OptionError, WeightsError, nearest_name
from impasto.runtime.atomic import replacing
from impasto.runtime.folders import user_folder
from impasto.weights.files import read_vgg

Progress = Callable[[int, int | None], None]
"""Called during a download with the bytes so far and the total (None if the server does not report it)."""

SHIPPED = "vgg19-slim"
"""The weights that are included in the package."""

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class CatalogueEntry:
    """A published weight file.

    Attributes:
        name: its name in the catalogue and in the cache.
        url: the publisher's download URL.
        sha256: hash of the file, or its first digits if the publisher gives no more; None if the publisher gives none.
        licence: licence of the weights.
        size_bytes: approximate size of the file.
        description: one line about the weights.
        source: the publisher.
        md5: MD5 of the file if the publisher gives no SHA-256.
    """

    name: str
    url: str
    sha256: str | None
    licence: str
    size_bytes: int
    description: str
    source: str
    md5: str | None = None

    @property
    def checked_by(self) -> str:
        """Description of the hash that a download is checked against."""
        if self.sha256 is None:
            return "MD5" if self.md5 else "nothing published"
        return "SHA-256" if len(self.sha256) == 64 else f"first {len(self.sha256)} digits of SHA-256"


_OXFORD = "CC BY 4.0 (VGG, Oxford)"

catalogue: dict[str, CatalogueEntry] = {
    "vgg19": CatalogueEntry(
        name="vgg19",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        # The full hash is in the manifests of several projects; torchvision gives the first eight digits, in the file name.
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        licence="BSD-3-Clause (torchvision)",
        size_bytes=574_673_361,
        description="VGG-19 as torchvision trained it",
        source="PyTorch",
    ),
    "vgg19-caffe": CatalogueEntry(
        name="vgg19-caffe",
        url="https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth",
        sha256="d01eb7cb",
        licence=_OXFORD,
        size_bytes=574_700_000,
        description="Oxford's VGG-19 in PyTorch format, used by neural-style-pt",
        source="Justin Johnson",
    ),
    "vgg19-matconvnet": CatalogueEntry(
        name="vgg19-matconvnet",
        url="https://www.vlfeat.org/matconvnet/models/beta16/imagenet-vgg-verydeep-19.mat",
        sha256="abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695",
        licence=_OXFORD,
        size_bytes=534_904_783,
        description="Oxford's VGG-19 in MATLAB format, used by the classic TensorFlow tutorials",
        source="MatConvNet",
    ),
    "vgg19-keras": CatalogueEntry(
        name="vgg19-keras",
        url="https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        sha256=None,
        md5="253f8cb515780f3b799900260a226db6",
        licence=_OXFORD,
        size_bytes=80_134_624,
        description="Oxford's VGG-19 without its classifier, the smallest download; needs 'impasto[keras]'",
        source="Keras",
    ),
    "vgg16": CatalogueEntry(
        name="vgg16",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        # The full hash is in the manifests of several projects, as for vgg19.
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        licence="BSD-3-Clause (torchvision)",
        size_bytes=553_433_881,
        description="VGG-16 as torchvision trained it",
        source="PyTorch",
    ),
    "vgg16-caffe": CatalogueEntry(
        name="vgg16-caffe",
        url="https://web.eecs.umich.edu/~justincj/models/vgg16-00b39a1b.pth",
        sha256="00b39a1b",
        licence=_OXFORD,
        size_bytes=553_400_000,
        description="Oxford's VGG-16 in PyTorch format, used by neural-style-pt",
        source="Justin Johnson",
    ),
    "vgg16-matconvnet": CatalogueEntry(
        name="vgg16-matconvnet",
        url="https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-16.mat",
        sha256=None,
        md5="f72d927587ca4c97fbd165ec9cb9997f",
        licence=_OXFORD,
        size_bytes=515_000_000,
        description="Oxford's VGG-16 in MATLAB format",
        source="MatConvNet",
    ),
    "vgg16-keras": CatalogueEntry(
        name="vgg16-keras",
        url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        sha256=None,
        md5="6d6bbae143d832006294945121d1f1fc",
        licence=_OXFORD,
        size_bytes=58_889_256,
        description="Oxford's VGG-16 without its classifier, used by INetwork; needs 'impasto[keras]'",
        source="Keras",
    ),
}


# ---------------------------------------------------------------------------------------------------- the cache


def cache_folder() -> Path:
    """Return the folder of fetched and imported weights: ``IMPASTO_CACHE`` or the user's cache folder; it may not exist."""
    return user_folder("cache", "IMPASTO_CACHE")


def find(name: str) -> Path:
    """Return the cached file with this name; ``"vgg19"`` also matches its other formats, such as ``"vgg19-keras"``.

    ``"vgg19-slim"`` is always the file included in the package.

    Raises:
        OptionError: the name is neither in the catalogue nor in the cache.
        WeightsError: the name is in the catalogue but not in the cache; the message says how to fetch it.
    """
    if name == SHIPPED:
        return _shipped()
    for candidate in (name, *(each for each in catalogue if each.startswith(f"{name}-"))):
        file = _file(candidate)
        if os.path.isfile(file):
            return file
    entry = _entry(name)
    raise WeightsError(
        f"{name} is not on this machine yet; fetch it with 'impasto weights fetch {name}' "
        f"({entry.size_bytes / 1e6:.0f} MB), or {_by_hand(entry)}"
    )


def in_cache() -> list[str]:
    """Return the names of all weights in the cache, sorted."""
    return sorted(file.stem for file in cache_folder().glob("*.weights"))


def import_file(path: str | Path, name: str | None = None) -> Path:
    """Validate a weight file and copy it into the cache.

    Args:
        path: a file in any format that :func:`impasto.weights.read_vgg` supports.
        name: its name in the cache; by default the name of the same file in the catalogue, or else ``"vgg19"`` or ``"vgg16"``
            depending on the network.

    Returns:
        The path of the file in the cache.

    Raises:
        WeightsError: the file is not valid, or cannot be copied.
        OptionError: the name has characters other than lower-case letters, digits, dots and dashes, or is ``"vgg19-slim"``.

    Example:
        >>> from impasto.encoders import Vgg
        >>> from impasto.weights import save_vgg
        >>> save_vgg("narrow.safetensors", Vgg((4, 4, 8, 8, 8)), {})
        >>> import_file("narrow.safetensors", "narrow").name
        'narrow.weights'
        >>> verify("narrow").form
        "impasto's own form, 8 bit"
    """
    path = Path(path)
    weights = read_vgg(path)
    sha256 = weights.sha256
    name = name or next(
        (entry.name for entry in catalogue.values() if entry.sha256 and sha256.startswith(entry.sha256)), weights.network
    )
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise OptionError(f"weights cannot be called {name!r}; use lower-case letters, digits, dots and dashes")
    if name == SHIPPED:
        raise OptionError(f"weights cannot be called {name!r}, which is included in impasto; choose another name")
    partial = _file(name).with_suffix(".importing")
    with _writing(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, partial)
        return _keep(partial, name, sha256, str(path.resolve()))


@dataclass(frozen=True)
class Verified:
    """The result of :func:`verify`.

    Attributes:
        path: the file.
        form: description of its format.
        layers: number of convolutions.
        sha256: its hash.
        against: description of what the hash was compared with.
    """

    path: Path
    form: str
    layers: int
    sha256: str
    against: str


def verify(name_or_path: str | Path) -> Verified:
    """Read a complete weight file and compare its hash with the published or recorded one.

    Args:
        name_or_path: a name in the cache, or any file.

    Raises:
        WeightsError: the file is not valid, or has changed since it was fetched or imported.
        OptionError: there is no such name or file.
    """
    named = not os.path.isfile(name_or_path)
    path = find(str(name_or_path)) if named else Path(name_or_path)
    weights = read_vgg(path)
    record = _record(path) if named else None
    if record and record != weights.sha256:
        raise WeightsError(
            f"{path}: the file has changed since it was fetched or imported (SHA-256 {weights.sha256}, recorded {record}); "
            "delete it, and fetch or import it again"
        )
    known = next((each for each in catalogue.values() if each.sha256 and weights.sha256.startswith(each.sha256)), None)
    against = f"{known.checked_by} of {known.name}" if known else "the record of its import" if record else "no known hash"
    return Verified(path, weights.form, len(weights.convolutions), weights.sha256, against)


def _entry(name: str) -> CatalogueEntry:
    if name not in catalogue:
        raise OptionError(f"weights {name!r} are not in the catalogue{nearest_name(name, (*catalogue, SHIPPED))}")
    return catalogue[name]


def _shipped() -> Path:
    file = Path(str(files("impasto"))) / "data" / f"{SHIPPED}.safetensors"
    if not file.is_file():
        raise WeightsError(f"{SHIPPED} is missing from this installation of impasto; reinstall impasto, or use another encoder")
    return file


def _file(name: str) -> Path:
    return cache_folder() / f"{name}.weights"


def _record(file: Path) -> str | None:
    """Return the recorded SHA-256 of a cached file; None if there is no readable record."""
    try:
        return str(json.loads(file.with_suffix(".json").read_text("utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(partial: Path, name: str, sha256: str, origin: str) -> Path:
    """Move a complete file to its place in the cache, and write its record."""
    file = _file(name)
    record = {"name": name, "sha256": sha256, "size_bytes": partial.stat().st_size, "origin": origin}
    # Delete the old record first: a file without a record is only unverified, but a file with a wrong record is rejected.
    file.with_suffix(".json").unlink(missing_ok=True)
    partial.replace(file)
    with replacing(file.with_suffix(".json")) as written:
        written.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return file


@contextmanager
def _writing(partial: Path) -> Iterator[None]:
    """Convert write errors to WeightsError, and delete the partial file."""
    try:
        yield
    except WeightsError:
        partial.unlink(missing_ok=True)
        raise
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise WeightsError(f"{partial.parent}: weights cannot be written here: {error.strerror or error}") from error


# ---------------------------------------------------------------------------------------------------- fetching


def fetch(name: str = "vgg19", progress: Progress | None = None, *, offline: bool | None = None) -> Path:
    """Download published weights into the cache. Interrupted downloads are resumed; the file is verified and moved atomically.

    Args:
        name: a name in the catalogue.
        progress: called with the bytes so far and the total.
        offline: do not access the internet; by default the value of ``IMPASTO_OFFLINE``.

    Returns:
        The file in the cache. If it is already there, nothing is downloaded.

    Raises:
        OptionError: the name is not in the catalogue.
        WeightsError: there is no internet connection, or the download is not the published file. The message explains how to
            download the file by hand.
    """
    if name == SHIPPED:
        return _shipped()
    entry = _entry(name)
    if os.path.isfile(_file(name)):
        return _file(name)
    if offline if offline is not None else os.environ.get("IMPASTO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"{name} is not on this machine and impasto is offline; {_by_hand(entry)}")
    partial = _file(name).with_suffix(".part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _download(entry, partial, progress or (lambda done, total: None))
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"{name} could not be fetched ({_reason(error)}); try again to resume the download, or {_by_hand(entry)}"
        ) from error
    with _writing(partial):
        return _keep(partial, name, _checked(entry, partial), entry.url)


def _by_hand(entry: CatalogueEntry) -> str:
    return f"download {entry.url} on another machine and run 'impasto weights import FILE --name {entry.name}'"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _download(entry: CatalogueEntry, partial: Path, progress: Progress) -> None:
    """Download the missing part of a file; start over if the server cannot resume."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "impasto"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(entry.url, headers=headers), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is missing
            return
        raise
    with response:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with partial.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                progress(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"the connection was closed after {have} of {total} bytes")


def _checked(entry: CatalogueEntry, partial: Path) -> str:
    """Return the SHA-256 of a download; raise WeightsError if the file cannot be read or is not the published one."""
    try:
        sha256 = read_vgg(partial).sha256
    except WeightsError as error:
        raise WeightsError(f"the download from {entry.url} cannot be used and was deleted: {error}") from error
    md5 = _md5_of(partial) if entry.md5 else None
    if not sha256.startswith(entry.sha256 or "") or md5 != entry.md5:
        raise WeightsError(
            f"the download from {entry.url} is not the published file and was deleted: expected {entry.checked_by} "
            f"{entry.sha256 or entry.md5}, got {md5 or sha256}"
        )
    return sha256


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
