"""The catalogue of published weights, and the cache on this machine: fetched, imported, verified, found by name.

A name's file lies in the cache as ``NAME.weights``, whatever its form; beside it ``NAME.json`` records its SHA-256, its size
and where it came from.
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
from impasto.runtime.folders import user_folder
from impasto.weights.files import read_vgg

Progress = Callable[[int, int | None], None]
"""Called as a download goes on: bytes so far, and bytes in all where the server says."""

SHIPPED = "vgg19-slim"
"""The weights that are inside the package."""

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class CatalogueEntry:
    """One published file of weights.

    Attributes:
        name: what it is called here, and in the cache.
        url: where its publisher keeps it.
        sha256: of the file, or the first digits of it where the publisher gives no more; None where they give none.
        licence: of the weights.
        size_bytes: of the file, about.
        description: what it is, in a line.
        source: who publishes it.
        md5: of the file, where that is all that the publisher gives.
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
        """What a download is checked against, in words."""
        if self.sha256 is None:
            return "MD5" if self.md5 else "nothing published"
        return "SHA-256" if len(self.sha256) == 64 else f"first {len(self.sha256)} digits of SHA-256"


_OXFORD = "CC BY 4.0 (VGG, Oxford)"

catalogue: dict[str, CatalogueEntry] = {
    "vgg19": CatalogueEntry(
        name="vgg19",
        url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        # In full in several projects' manifests; torchvision itself gives the first eight digits, in the name.
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
        description="Oxford's VGG-19 in PyTorch's form, which neural-style-pt uses",
        source="Justin Johnson",
    ),
    "vgg19-matconvnet": CatalogueEntry(
        name="vgg19-matconvnet",
        url="https://www.vlfeat.org/matconvnet/models/beta16/imagenet-vgg-verydeep-19.mat",
        sha256="abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695",
        licence=_OXFORD,
        size_bytes=534_904_783,
        description="Oxford's VGG-19 in MATLAB's form, which the classic TensorFlow tutorials load",
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
        description="Oxford's VGG-19 without its classifier, the smallest download; wants 'impasto[keras]'",
        source="Keras",
    ),
    "vgg16": CatalogueEntry(
        name="vgg16",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        # In full in several projects' manifests, as that of vgg19.
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
        description="Oxford's VGG-16 in PyTorch's form, which neural-style-pt uses",
        source="Justin Johnson",
    ),
    "vgg16-matconvnet": CatalogueEntry(
        name="vgg16-matconvnet",
        url="https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-16.mat",
        sha256=None,
        md5="f72d927587ca4c97fbd165ec9cb9997f",
        licence=_OXFORD,
        size_bytes=515_000_000,
        description="Oxford's VGG-16 in MATLAB's form",
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
        description="Oxford's VGG-16 without its classifier, which INetwork uses; wants 'impasto[keras]'",
        source="Keras",
    ),
}


# ---------------------------------------------------------------------------------------------------- the cache


def cache_folder() -> Path:
    """Return the folder of fetched and imported weights: ``IMPASTO_CACHE``, or the user's cache; it may not exist yet."""
    return user_folder("cache", "IMPASTO_CACHE")


def find(name: str) -> Path:
    """Return the file of a name in the cache; ``"vgg19"`` also finds its other forms, such as ``"vgg19-keras"``.

    ``"vgg19-slim"`` is inside the package, and nowhere else.

    Raises:
        OptionError: the name is neither in the catalogue nor in the cache.
        WeightsError: it is in the catalogue but not in the cache yet; the message says how it gets there.
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
    """Copy a file of weights into the cache, once it has been read and found good.

    Args:
        path: a file of any form that :func:`impasto.weights.read_vgg` knows.
        name: what to call it; by default the name in the catalogue of this very file, or else ``"vgg19"`` or
            ``"vgg16"``, whichever it is.

    Returns:
        Where it lies now.

    Raises:
        WeightsError: the file is not good, or cannot be copied.
        OptionError: the name is not lower-case letters, digits, dots and dashes.

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
        raise OptionError(f"weights cannot be called {name!r}; allowed are lower-case letters, digits, dots and dashes")
    if name == SHIPPED:
        raise OptionError(f"weights cannot be called {name!r}, which is inside the package; choose another name")
    partial = _file(name).with_suffix(".importing")
    with _writing(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, partial)
        return _keep(partial, name, sha256, str(path.resolve()))


@dataclass(frozen=True)
class Verified:
    """What :func:`verify` found.

    Attributes:
        path: the file.
        form: which published form it is in, in words.
        layers: how many convolutions it holds.
        sha256: its hash.
        against: what the hash was compared with, in words.
    """

    path: Path
    form: str
    layers: int
    sha256: str
    against: str


def verify(name_or_path: str | Path) -> Verified:
    """Read a file of weights to its end and compare its hash with what was published or recorded.

    Args:
        name_or_path: a name in the cache, or any file.

    Raises:
        WeightsError: the file is not good, or is not the one that was fetched or imported.
        OptionError: there is neither such a name nor such a file.
    """
    named = not os.path.isfile(name_or_path)
    path = find(str(name_or_path)) if named else Path(name_or_path)
    weights = read_vgg(path)
    record = _record(path) if named else None
    if record and record != weights.sha256:
        raise WeightsError(
            f"{path}: it has changed since it was put here (SHA-256 {weights.sha256}, recorded {record}); delete it, and "
            "fetch or import it again"
        )
    known = next((each for each in catalogue.values() if each.sha256 and weights.sha256.startswith(each.sha256)), None)
    against = f"{known.checked_by} of {known.name}" if known else "the record of its import" if record else "no known hash"
    return Verified(path, weights.form, len(weights.convolutions), weights.sha256, against)


def _entry(name: str) -> CatalogueEntry:
    if name not in catalogue:
        raise OptionError(f"there are no weights {name!r} in the catalogue{nearest_name(name, (*catalogue, SHIPPED))}")
    return catalogue[name]


def _shipped() -> Path:
    file = Path(str(files("impasto"))) / "data" / f"{SHIPPED}.safetensors"
    if not file.is_file():
        raise WeightsError(f"{SHIPPED} is missing from this installation of impasto; install it again, or name another encoder")
    return file


def _file(name: str) -> Path:
    return cache_folder() / f"{name}.weights"


def _record(file: Path) -> str | None:
    """Return the SHA-256 that was recorded for a file of the cache."""
    try:
        return str(json.loads(file.with_suffix(".json").read_text("utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(partial: Path, name: str, sha256: str, origin: str) -> Path:
    """Give a finished file its name in the cache and write its record."""
    file = _file(name)
    record = {"name": name, "sha256": sha256, "size_bytes": partial.stat().st_size, "origin": origin}
    # The old record goes first: a file without a record is merely unverified, one with a wrong record would be refused.
    file.with_suffix(".json").unlink(missing_ok=True)
    partial.replace(file)
    written = file.with_suffix(".json.part")
    written.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    written.replace(file.with_suffix(".json"))
    return file


@contextmanager
def _writing(partial: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence, and leave nothing half-written."""
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
    """Download published weights into the cache: resumed where a download was cut, verified, and put in place whole.

    Args:
        name: in the catalogue.
        progress: called with the bytes so far and in all.
        offline: refuse to use the network; by default as ``IMPASTO_OFFLINE`` says.

    Returns:
        The file in the cache, at once where it is there already.

    Raises:
        OptionError: the name is not in the catalogue.
        WeightsError: there is no network, or what came is not what was published; the message gives the manual way.
    """
    if name == SHIPPED:
        return _shipped()
    entry = _entry(name)
    if os.path.isfile(_file(name)):
        return _file(name)
    if offline if offline is not None else os.environ.get("IMPASTO_OFFLINE", "0") not in ("", "0"):
        raise WeightsError(f"{name} is not on this machine, and impasto is offline; {_by_hand(entry)}")
    partial = _file(name).with_suffix(".part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        _download(entry, partial, progress or (lambda done, total: None))
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"{name} could not be fetched ({_reason(error)}); try again to go on from there, or {_by_hand(entry)}"
        ) from error
    with _writing(partial):
        return _keep(partial, name, _checked(entry, partial), entry.url)


def _by_hand(entry: CatalogueEntry) -> str:
    return f"download {entry.url} with another machine and run 'impasto weights import FILE --name {entry.name}'"


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _download(entry: CatalogueEntry, partial: Path, progress: Progress) -> None:
    """Append to what is there already what is missing; start over where the server cannot resume."""
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
        raise ConnectionError(f"the connection was cut after {have} of {total} bytes")


def _checked(entry: CatalogueEntry, partial: Path) -> str:
    """Return the SHA-256 of a download that is what its publisher says and can be read; :class:`WeightsError` otherwise."""
    try:
        sha256 = read_vgg(partial).sha256
    except WeightsError as error:
        raise WeightsError(f"what {entry.url} sent cannot be used, and was deleted: {error}") from error
    md5 = _md5_of(partial) if entry.md5 else None
    if not sha256.startswith(entry.sha256 or "") or md5 != entry.md5:
        raise WeightsError(
            f"what {entry.url} sent is not what was published, and was deleted: wanted is the {entry.checked_by} "
            f"{entry.sha256 or entry.md5}, and it is {md5 or sha256}"
        )
    return sha256


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
