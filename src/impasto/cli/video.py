"""``impasto video``: paint a clip with little flicker, and keep its sound."""

import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, fail_with
from impasto.cli.flags import COMPUTED, WRITTEN, UngroupedRunFlags, VideoFlags, given
from impasto.cli.pipes import STDIN, STDOUT
from impasto.cli.progress import duration, message_console
from impasto.cli.signals import undisturbed
from impasto.errors import ClusterError, OptionError
from impasto.options import Run
from impasto.options.video import VideoOptions

if TYPE_CHECKING:
    from rich.console import Console

    from impasto.batch.cluster import ClusterOptions
    from impasto.video.painting import Painting, Progress, VideoRun

_SECONDS_BETWEEN_LINES = 2.0


@dataclass(frozen=True, kw_only=True)
class VideoClusterFlags:
    """Workers."""

    ray: str | None = None
    """Paint the frames on a Ray cluster: local (a cluster for this run), auto (the running one) or ray://HOST:PORT."""

    workers: int | None = None
    """With --ray: number of workers. Default: as many as the cluster has room for."""

    gpus: float = 0.0
    """With --ray: GPUs of each worker, such as 0.25 for four workers on a GPU. 0: paint on CPUs."""


def video(
    clip: str | None = None,
    style: str | None = None,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o", group=WRITTEN)] = None,
    poster: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    compare: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    making_of: Annotated[Path | None, Parameter(group=WRITTEN)] = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False, group=WRITTEN)] = False,
    options: Annotated[VideoFlags | None, Parameter(name="*")] = None,
    cluster: Annotated[VideoClusterFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    run: Annotated[UngroupedRunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
) -> int:
    """Paint a clip with little flicker, and keep its sound. If the command is interrupted, run it again to continue.

    Args:
        clip: A video, or an animated GIF or WebP file.
        style: A brush or its name, see "impasto brushes list". With --method instant or --method paint: a picture, or the
            name of a style.
        output: Output file (.mp4, .m4v, .mov, .mkv, .webm, .gif or .webp).
        poster: Also save a painted frame as a picture. The frame with the most detail in the clip is chosen.
        compare: Also write a clip that shows the source on the left and the result on the right, with the sound.
        making_of: Paint a result of impasto paint again, and save the painting process as a film. If the photo and the style
            are neither in the current folder nor next to the result, give them in place of CLIP and STYLE.
        quiet: Print errors only.
        options: Painting options.
        cluster: Workers.
        run: Device and precision.
    """
    if making_of is not None:
        from impasto.cli.making_of import check_alone, film_painting

        check_alone({"--poster": poster, "--compare": compare, **_given_of(cluster)}, given(options))
        inputs = [word for word in (clip, style) if word is not None]
        return film_painting(making_of, inputs, output, given(options).get("size", 0), given(run), quiet=quiet)
    if clip is None or style is None or output is None:
        missing = "the clip" if clip is None else "the style" if style is None else "the output"
        raise OptionError(
            f"{missing} is missing: impasto video CLIP STYLE -o OUTPUT, such as impasto video clip.mp4 wave -o out.mp4"
        )
    if STDIN in (clip, style) or output == STDOUT:
        raise OptionError("a clip can neither be read from standard input nor written to standard output; give file names")
    from impasto.cli.overwriting import check_overwrites
    from impasto.cli.session import set_threads
    from impasto.runtime.locks import only_writer
    from impasto.runtime.memory import keep_freed_memory, memory_in_words
    from impasto.video.clips import open_clip
    from impasto.video.films import Extras
    from impasto.video.libraries import check_libraries
    from impasto.video.painters import load_painter
    from impasto.video.painting import VideoRun, check_extras, check_output

    check_libraries()
    chosen, where, console = VideoOptions(**given(options)), Run(**given(run)), message_console(quiet=quiet)
    crew = _crew(cluster, where)
    check_overwrites({"--output": output, "--poster": poster, "--compare": compare}, (clip, style))
    check_output(output)
    opened, extras = open_clip(clip, longest_px=chosen.size), Extras(poster, compare)
    check_extras(extras, opened)
    keep_freed_memory()
    set_threads(where)
    with only_writer(output), memory_in_words(chosen.size or max(opened.size)):
        painter = load_painter(style, chosen, where if crew is None else _without_gpu_of_workers(where))
        console.print("looking for cuts")
        started = VideoRun(opened, painter, output, chosen, extras=extras)
        return _painted(started, _workers(crew, started, style, where), console, quiet=quiet)


def _given_of(flags: VideoClusterFlags | None) -> dict[str, object]:
    """Return the flags of the cluster that were given."""
    default = VideoClusterFlags()
    return {f"--{name}": value for name, value in vars(flags or default).items() if value != getattr(default, name)}


def _without_gpu_of_workers(run: Run) -> Run:
    """Return the settings of this machine, which paints no frames and may have no GPU."""
    return run if run.device == "cpu" else replace(run, device="auto")


def _crew(flags: VideoClusterFlags | None, run: Run) -> "ClusterOptions | None":
    """Return the options of the cluster to paint on, or None to paint in this process.

    Raises:
        ImpastoError: a value is not allowed, Ray is not installed, or there is no cluster.
    """
    if flags is None or flags.ray is None:
        for flag in _given_of(flags):
            raise OptionError(f"{flag} is for --ray alone; add --ray local, auto or ray://HOST:PORT, or omit it")
        return None
    from impasto.batch.cluster import ClusterOptions, check_cluster

    options = ClusterOptions(address=flags.ray, gpus=flags.gpus, workers=flags.workers)
    check_cluster(options, run)
    return options


def _workers(
    crew: "ClusterOptions | None", started: "VideoRun", style: str, run: Run
) -> "AbstractContextManager[Painting | None]":
    if crew is None or started.resumed == started.total:
        return nullcontext()
    from impasto.batch.clips import cluster_painting

    return cluster_painting(crew, started, style, run)


def _painted(
    started: "VideoRun", workers: "AbstractContextManager[Painting | None]", console: "Console", *, quiet: bool
) -> int:
    """Paint, join and report."""
    _announce(started, console)
    try:
        with workers as painting:
            if painting is None and not console.quiet:  # the time of workers on other machines is not known
                _predict(started, console)
            began = time.monotonic()
            try:
                with _progress(console) as show:
                    for state in started.paint(painting):
                        show(state)
            except ClusterError as error:  # not one of connecting
                return fail_with(f"{error}; complete segments are kept; run the same command again to continue", FAILED_EXIT)
    except KeyboardInterrupt:
        kept = started.segments.count
        console.print(f"interrupted; {kept} of {started.total} frames are kept in {started.segments.folder}")
        console.print(f"to resume, run the same command again: {shlex.join(['impasto', *sys.argv[1:]])}")
        return INTERRUPTED_EXIT
    with undisturbed():
        finished = started.finish()
    took, count = time.monotonic() - began, finished.frames - started.resumed
    height, width = finished.size
    speed = f" ({count / took:.1f} frames/s)" if count else ""
    message_console(quiet=quiet, to_stderr=False).print(
        f"{finished.output}: {width}x{height} pixels, {finished.frames} frames, painted in {duration(took)}{speed}"
    )
    for path in (started.extras.poster, started.extras.compare):
        if path is not None:
            console.print(f"{path}: saved")
    return 0


def _announce(started: "VideoRun", console: "Console") -> None:
    from impasto.video.joining import ANIMATIONS
    from impasto.video.segments import encoded_size

    clip, (height, width) = started.clip, started.clip.size
    shots = f"{len(started.shots)} shots" if len(started.shots) > 1 else "1 shot"
    console.print(f"{width}x{height} pixels, {started.total} frames, {shots}")
    if started.damaged:
        frames = "frames are" if started.damaged > 1 else "frame is"
        console.print(f"{started.damaged} {frames} damaged or missing in the clip; the previous frame is shown for longer")
    if (padded := encoded_size(clip.size, started.encoding)) != clip.size:
        console.print(f"H.264 needs even sides: the result is {padded[1]}x{padded[0]} pixels; .webm keeps {width}x{height}")
    if clip.sounds and started.output.suffix.lower() in ANIMATIONS:
        console.print(f"{started.output.suffix} cannot contain sound; the sound of the clip is not copied")
    if started.segments.is_replaced:
        console.print("deleted segments that were damaged, or that belong to another clip, style or other options")
    if started.resumed:
        console.print(f"resuming after {started.resumed} frames")


def _predict(started: "VideoRun", console: "Console") -> None:
    """Print the predicted time of ``--method paint``, the slowest one; others show the remaining time after two frames."""
    from impasto.video.temporal import PaintFrames

    left = started.total - started.resumed
    if left and isinstance(started.painter, PaintFrames):
        seconds = started.painter.predicted_seconds(started.clip.size, left, len(started.shots))
        console.print(f"optimizing {left} frames takes about {duration(seconds)}; a smaller --size takes less")


@contextmanager
def _progress(console: "Console") -> Iterator[Callable[["Progress"], None]]:
    """Show a bar on a terminal, and a line about every two seconds elsewhere."""
    if not console.is_terminal or console.quiet:
        yield _lines(console)
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    with Bar(BarColumn(), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda state: bar.update(task, completed=state.done, total=state.total, description=_in_words(state))


def _lines(console: "Console") -> Callable[["Progress"], None]:
    printed = 0.0

    def show(state: "Progress") -> None:
        nonlocal printed
        if math.isfinite(state.seconds_left) and time.monotonic() - printed >= _SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            console.print(_in_words(state))

    return show


def _in_words(state: "Progress") -> str:
    left = f"about {duration(state.seconds_left)} left" if math.isfinite(state.seconds_left) else "timing the first frames"
    return f"frame {state.done} of {state.total}; {left}"
