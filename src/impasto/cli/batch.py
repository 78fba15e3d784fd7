"""``impasto batch``: paint many photos in many styles. To continue an interrupted batch, run the command again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, BatchFlags, OutputOptions, UngroupedRunFlags, given
from impasto.errors import OptionError
from impasto.options import Run

if TYPE_CHECKING:
    from impasto.batch.cluster import ClusterOptions

_EXAMPLE = "impasto batch CONTENTS STYLES -o FOLDER, such as impasto batch photos starry-night,great-wave -o painted"


@dataclass(frozen=True, kw_only=True)
class BatchFiles:
    """Output files."""

    output: Annotated[str | None, Parameter(alias="-o")] = None
    """Folder of the results and of manifest.jsonl; it is created. It may be on another file system, such as s3://bucket/folder."""

    format: Literal["png", "jpg", "webp", "tif", "avif"] = "png"
    """Format of the results."""

    bits: Literal[8, 16] = 8
    """Bits per channel. 16 needs png or tif."""

    quality: Annotated[int, Parameter(name="--file-quality")] = 95
    """Quality of JPEG, WebP and AVIF files, 1 to 100."""

    keep_gps: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Keep the GPS position from the photos' metadata."""


@dataclass(frozen=True, kw_only=True)
class ClusterFlags:
    """Workers."""

    workers: int | None = None
    """Number of worker processes, each with its own models. Default: 1; with --ray, as many as fit on the cluster."""

    ray: str | None = None
    """Paint on a Ray cluster: local (a temporary cluster on this machine), auto (a running cluster) or ray://HOST:PORT."""

    gpus: float = 0.0
    """With --ray: GPUs of each worker, such as 0.25 for four workers on a GPU. 0: paint on CPUs."""


def batch(
    contents: str | None = None,
    styles: str | None = None,
    /,
    *more: Annotated[str, Parameter(show=False)],
    method: Annotated[Literal["instant", "paint", "brush"], Parameter(group=WRITTEN)] = "instant",
    cluster: Annotated[ClusterFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    files: Annotated[BatchFiles | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    options: Annotated[BatchFlags | None, Parameter(name="*")] = None,
    run: Annotated[UngroupedRunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
) -> int:
    """Paint many photos in many styles. To continue an interrupted batch, run the command again; it skips finished items.

    Args:
        contents: A photo, a folder, a glob in quotes, or a .csv file with the columns content and style and any options.
        styles: A picture, a folder, a glob in quotes, or names from "impasto styles list" separated by commas; for --method
            brush, brushes. A .csv file contains its own styles.
        more: Extra arguments, such as the file names of a glob without quotes; they cause an error.
        method: How to paint: instant (one pass), paint (better and slower) or brush (one small network per style).
        cluster: Workers.
        files: Output files.
        output_options: Messages.
        options: Options of the method.
        run: Device, precision and seed.
    """
    is_table = contents is not None and contents.lower().endswith(".csv")
    files, output_options = files or BatchFiles(), output_options or OutputOptions()
    _check_words(contents, styles, more, files, is_table=is_table)
    assert contents is not None
    assert files.output is not None
    from impasto.batch.methods import options_for
    from impasto.batch.pairs import Pair, read_pairs
    from impasto.batch.remote import is_url, place_of
    from impasto.batch.sources import contents_in, styles_in
    from impasto.batch.work import Settings
    from impasto.cli.batches import Requested, run_batch

    output = place_of(files.output) if is_url(files.output) else Path(files.output)
    wanted: dict[str, Any] = given(options)
    engine = wanted.pop("engine", "auto") if method == "brush" else "auto"
    chosen, where = options_for(method, wanted), Run(**given(run))
    others: tuple[str, ...] = ()
    if is_table:
        pairs = read_pairs(contents, method, wanted)
    else:
        assert styles is not None
        local = output if isinstance(output, Path) else None
        photos, looks = contents_in(contents, local), styles_in(styles, method, local)
        pairs = [Pair(photo, look, chosen) for look in looks.names for photo in photos.names]
        others = photos.others + looks.others
    saved: dict[str, Any] = {"bits": files.bits, "quality": files.quality, "keep_gps": files.keep_gps}
    settings = Settings(method=method, run=where, engine=engine, **saved)
    crew = _crew(cluster or ClusterFlags())
    return run_batch(Requested(pairs, others, settings, output, f".{files.format}", crew), output_options)


def _crew(flags: ClusterFlags) -> "int | ClusterOptions":
    """Return the number of processes, or the cluster to run on.

    Raises:
        OptionError: a value is not allowed.
    """
    if flags.ray is None:
        if flags.gpus:
            raise OptionError(f"--gpus is {flags.gpus:g}, but it applies only to --ray; choose a GPU with --device instead")
        return 1 if flags.workers is None else flags.workers
    from impasto.batch.cluster import ClusterOptions

    return ClusterOptions(address=flags.ray, gpus=flags.gpus, workers=flags.workers)


def _check_words(contents: str | None, styles: str | None, more: tuple[str, ...], files: BatchFiles, *, is_table: bool) -> None:
    if contents is None or (styles is None and not is_table):
        raise OptionError(f"{'the styles are' if contents else 'contents and styles are'} missing: {_EXAMPLE}")
    if is_table and styles is not None:
        raise OptionError(f"'{contents}' contains its own styles, but '{styles}' is given too; omit one of them")
    if more:
        count = 2 + len(more)
        raise OptionError(
            f"{count} arguments were given; put globs in quotes, such as 'photos/*.jpg', and separate several styles "
            "with commas"
        )
    if files.output is None:
        raise OptionError(f"the output folder is missing: {_EXAMPLE}")
