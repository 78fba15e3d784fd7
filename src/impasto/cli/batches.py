"""Runs a batch on the command line: checks, progress, and the summary at the end."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from impasto import images
from impasto.batch.cluster import ClusterOptions, cluster_pool
from impasto.batch.engine import outcomes_of
from impasto.batch.folders import Folder, LocalFolder
from impasto.batch.manifest import NAME, Facts, Manifest
from impasto.batch.memory import check_workers
from impasto.batch.pairs import Pair
from impasto.batch.plan import Plan, make_folder, planned
from impasto.batch.pool import Pool, pool_of
from impasto.batch.remote import RemoteFolder, RemoteManifest
from impasto.batch.uploads import UploadingPool
from impasto.batch.work import Item, Outcome, Settings, threads_each
from impasto.cli import FAILED_EXIT, INTERRUPTED_EXIT, fail_with
from impasto.cli.flags import OutputOptions
from impasto.cli.progress import duration, message_console
from impasto.encoders.precision import choose_device
from impasto.errors import ClusterError, ImageFileError, OptionError
from impasto.networks.compiled import has_openvino
from impasto.options import InstantOptions
from impasto.runtime.devices import seconds_now
from impasto.runtime.locks import only_writer

_SECONDS_BETWEEN_LINES = 2.0
_MOST_NAMES = 10
_MOST_FAILURES = 50


@dataclass(frozen=True)
class Requested:
    """A batch as requested on the command line.

    Attributes:
        pairs: contents and styles.
        others: files in folders and globs that are not pictures.
        settings: what all items share.
        folder: the folder of the results, on this machine or elsewhere.
        suffix: the suffix of the results.
        crew: the number of processes, or the cluster to run on.
    """

    pairs: Sequence[Pair]
    others: tuple[str, ...]
    settings: Settings
    folder: Path | RemoteFolder
    suffix: str
    crew: int | ClusterOptions


@dataclass
class _Session:
    """One run of the command, and its outcomes so far.

    Attributes:
        items: all items.
        to_skip: how many items have a result in the manifest, and will probably be skipped.
        counts: the number of items by state.
        failures: the outcomes of the items that failed.
        is_disk_full: whether the disk is full.
        started: when the batch started, in seconds.
        first: when the first item was painted, in seconds.
    """

    items: Sequence[Item]
    to_skip: int
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    is_disk_full: bool = False
    started: float = field(default_factory=seconds_now)
    first: float = 0.0

    def take(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.state] += 1
        self.is_disk_full |= outcome.is_disk_full
        if outcome.state == "failed":
            self.failures.append(outcome)
        if outcome.state != "skipped" and not self.first:
            self.first = seconds_now()

    @property
    def settled(self) -> int:
        """The number of items that are done, failed or skipped."""
        return self.counts.total()

    @property
    def seconds_left(self) -> float | None:
        """The remaining seconds at the current speed, excluding the time to load the models; None before the first item."""
        painted = self.counts["done"] + self.counts["failed"]
        if not painted:
            return None
        left = len(self.items) - self.settled - max(0, self.to_skip - self.counts["skipped"])
        since_first, since_start = seconds_now() - self.first, seconds_now() - self.started
        return max(0, left) * (since_first / (painted - 1) if painted > 1 else since_start)


def run_batch(requested: Requested, messages: OutputOptions) -> int:
    """Paint a batch.

    Returns:
        The exit code: 0 on success, 1 if items failed or the disk is full, or 130 if the user interrupted.

    Raises:
        ImpastoError: the batch cannot start.
    """
    settings = _settings_of_worker(requested)
    _check_settings(requested, settings)
    with _pool(requested, settings) as pool, _output(requested.folder) as (folder, manifest):
        plan = planned(requested.pairs, folder, requested.suffix, manifest.finished)
        console = message_console(quiet=messages.quiet)
        _announce(requested, plan, console)
        to_skip = sum(Path(item.output).name in manifest.finished for item in plan.items)
        session = _Session(plan.items, to_skip)
        code = 0
        if isinstance(folder, RemoteFolder):
            pool = UploadingPool(pool, folder)
        try:
            with (
                _progress(console, session) as show,
                closing(outcomes_of(plan.items, manifest, Facts(settings, folder), pool)) as found,
            ):
                for outcome in found:
                    session.take(outcome)
                    show(outcome)
        except KeyboardInterrupt:
            code = INTERRUPTED_EXIT
        except (ImageFileError, ClusterError) as error:
            code = _stopped(error)
        try:
            manifest.flush()
        except ImageFileError as error:
            code = code or _stopped(error)
        return _summarized(session, requested, messages, code)


def _stopped(error: Exception) -> int:
    return fail_with(f"{error}; run the same command again to continue", FAILED_EXIT)


def _settings_of_worker(requested: Requested) -> Settings:
    """Return the settings of a worker. Its threads are a share of this machine's; on a cluster, the default is one."""
    run, crew = requested.settings.run, requested.crew
    threads = (run.threads or 1) if isinstance(crew, ClusterOptions) else threads_each(crew, run.threads)
    return replace(requested.settings, run=replace(run, threads=threads))


@contextmanager
def _pool(requested: Requested, settings: Settings) -> Iterator[Pool]:
    """Start the workers, and stop them on exit."""
    if isinstance(requested.crew, ClusterOptions):
        with cluster_pool(requested.crew, requested.pairs, settings) as pool:
            yield pool
        return
    check_workers(requested.crew, requested.pairs, settings)
    yield pool_of(requested.crew, settings)


@contextmanager
def _output(place: Path | RemoteFolder) -> Iterator[tuple[Folder, Manifest]]:
    """Make the folder of the results, lock it if it is on this machine, and open its manifest."""
    if isinstance(place, RemoteFolder):
        with place.opened() as folder, closing(RemoteManifest(folder)) as manifest:
            yield folder, manifest
        return
    make_folder(place)
    with only_writer(place), closing(Manifest(place)) as manifest:
        yield LocalFolder(place), manifest


def _manifest_path(place: Path | RemoteFolder) -> str:
    return str(place / NAME) if isinstance(place, Path) else f"{place}/{NAME}"


def _check_settings(requested: Requested, settings: Settings) -> None:
    """Check what can be checked before the folder is created.

    Raises:
        ImpastoError: a device or an engine is not available, or the format does not support an option.
    """
    if isinstance(requested.crew, int):  # a cluster may have other devices
        choose_device(settings.run.device)
    engines = {each.options.engine for each in requested.pairs if isinstance(each.options, InstantOptions)}
    if "openvino" in {*engines, settings.engine} and not has_openvino():
        raise OptionError("--engine openvino is not installed; pip install 'impasto[fast]', or use --engine torch")
    trial = torch.zeros(1, 3, 8, 8)
    images.encode(f"trial{requested.suffix}", trial, bits=settings.bits, quality=settings.quality)


def _announce(requested: Requested, plan: Plan, console: Console) -> None:
    if plan.repeated:
        console.print(f"repeated pairs, painted only once: {plan.repeated}")
    if requested.others:
        console.print(f"not pictures, ignored: {len(requested.others)} ({_listed(requested.others)})")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(repr(each) for each in names[:_MOST_NAMES]) + more


# ---------------------------------------------------------------------------------------------------- progress


@contextmanager
def _progress(console: Console, session: _Session) -> Iterator[Callable[[Outcome], None]]:
    """Show the outcomes: a bar on a terminal, and elsewhere a line about every two seconds."""
    if not console.is_terminal or console.quiet:
        yield _lines(console, session)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task("batch", total=len(session.items), state="loading the models")

        def show(_: Outcome) -> None:
            where = f"{session.settled} of {len(session.items)}"
            drawn.update(task, description=where, completed=session.settled, state=_state(session))

        yield show


def _lines(console: Console, session: _Session) -> Callable[[Outcome], None]:
    printed = time.monotonic()

    def show(outcome: Outcome) -> None:
        nonlocal printed
        if outcome.state == "skipped" or time.monotonic() - printed < _SECONDS_BETWEEN_LINES:
            return
        printed = time.monotonic()
        name = Path(outcome.item.output).name
        console.print(f"{session.settled} of {len(session.items)}: {name} {outcome.state}; {_state(session)}")

    return show


def _state(session: _Session) -> str:
    failed = f"{session.counts['failed']} failed; " if session.counts["failed"] else ""
    seconds = session.seconds_left
    return failed + ("looking for finished items" if seconds is None else f"about {duration(seconds)} left")


# ---------------------------------------------------------------------------------------------------- at the end


def _summarized(session: _Session, requested: Requested, messages: OutputOptions, code: int) -> int:
    """Print the failures and the counts. Return the exit code."""
    for outcome in session.failures[:_MOST_FAILURES]:
        fail_with(f"failed: {_described(outcome)}", FAILED_EXIT)
    if len(session.failures) > _MOST_FAILURES:
        rest = len(session.failures) - _MOST_FAILURES
        fail_with(f"{rest} more failed; their errors are in {_manifest_path(requested.folder)}", FAILED_EXIT)
    if session.is_disk_full:
        elsewhere = isinstance(requested.folder, RemoteFolder)
        more = f" or of the temporary folder '{tempfile.gettempdir()}'" if elsewhere else ""
        code = fail_with(
            f"the disk of '{requested.folder}'{more} is full; free some space, and run the same command again", FAILED_EXIT
        )
    seconds = seconds_now() - session.started
    if messages.json:
        print(json.dumps(_counted(session, requested, seconds)), flush=True)
    states = " + ".join(f"{session.counts[state]} {state}" for state in ("done", "skipped", "failed"))
    console = message_console(quiet=messages.quiet, to_stderr=messages.json or bool(code))
    if session.settled == len(session.items):
        console.print(f"{requested.folder}: {states} = {len(session.items)} planned, in {duration(seconds)}")
        return code or (FAILED_EXIT if session.failures else 0)
    what = "interrupted" if code == INTERRUPTED_EXIT else "stopped"
    left = len(session.items) - session.settled
    fail_with(f"{what}: {states} of {len(session.items)} planned, {left} left; run the same command again to continue", code)
    return code


def _described(outcome: Outcome) -> str:
    item = outcome.item
    source = f"{item.source}: " if item.source else ""
    return f"{source}'{item.content}' in '{item.style}': {outcome.error}"


def _counted(session: _Session, requested: Requested, seconds: float) -> dict[str, object]:
    counts = {state: session.counts[state] for state in ("done", "skipped", "failed")}
    manifest = _manifest_path(requested.folder)
    others = {"not_pictures": len(requested.others), "seconds": round(seconds, 2), "manifest": manifest}
    return {"planned": len(session.items), **counts, **others}
