"""``impasto inetwork``: INetwork.py by titu1994, with its original flags."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import CoercionError, Group, Parameter, Token

from impasto.cli import FAILED_EXIT, fail_with
from impasto.cli.flags import COMPUTED, Files, OutputOptions, UngroupedRunFlags, given
from impasto.cli.progress import duration, losses_in_words, message_console
from impasto.compat.inetwork_flags import InetworkOptions, Truth, as_choice, as_number, as_numbers, as_truth
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.fields import field_texts

if TYPE_CHECKING:
    from impasto.compat.inetwork import InetworkRequest
    from impasto.optim.engine import Step
    from impasto.recipes.pastiche import Pastiche

_OPTIONS = Group("INetwork's own flags", sort_key=3)
_MESSAGES = Group("Messages", sort_key=1)
_LISTS = ("--style_weight", "--style_masks")
"""Flags that take several values."""

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic")
_WORDS = {"content_layer": "NAME", "init_image": "NAME", **dict.fromkeys(("style_masks", "content_mask", "color_mask"), "MASK")}
_USAGE = "impasto inetwork CONTENT STYLE... PREFIX, such as impasto inetwork photo.jpg picture.jpg out/wolf"


def list_flags_last(words: Sequence[str]) -> list[str]:
    """Move the flags with several values to the end. Otherwise they would consume the picture arguments.

    As in argparse, ``--style_weight=1.0 photo.jpg`` gives one weight. In ``--style_weight 1.0 photo.jpg``, the weights end at
    the first word that is not a number.

    Example:
        >>> list_flags_last(["--style_weight=1.0", "photo.jpg", "--style_weight", "2", "picture.jpg"])
        ['photo.jpg', 'picture.jpg', '--style_weight', '1.0', '--style_weight', '2']
    """
    kept: list[str] = []
    moved: list[str] = []
    flag = ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            flag = name if name in _LISTS and not equals else ""
            if name in _LISTS:
                moved += [name, value] if equals else [name]
            else:
                kept.append(word)
        elif flag == "--style_masks" or (flag and _is_numbers(word)):
            moved.append(word)
        else:
            flag = ""
            kept.append(word)
    return kept + moved


def _is_numbers(word: str) -> bool:
    try:
        return bool(as_numbers("style_weight", [word]))
    except OptionError:
        return False


def _as_flags() -> type:
    """Make a dataclass of flags from the options. Flags are spelled and parsed as in INetwork, and are None if not given."""
    hints, texts = get_type_hints(InetworkOptions), field_texts(InetworkOptions)
    fields = [
        (each.name, Annotated[hints[each.name] | None, _flag(each, hints[each.name], texts[each.name])], None)
        for each in dataclasses.fields(InetworkOptions)
    ]
    made = dataclasses.make_dataclass("InetworkFlags", fields, frozen=True, kw_only=True)
    made.__module__ = __name__  # cyclopts resolves the types in this module
    return made


def _flag(field: "dataclasses.Field[Any]", hint: Any, text: str) -> Parameter:
    several = get_origin(hint) is tuple
    shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)

    def read(_: Any, tokens: Sequence[Token]) -> Any:
        try:
            return _read(field.name, hint, [token.value for token in tokens])
        except OptionError as error:
            raise CoercionError(str(error)) from error

    return Parameter(
        name=f"--{field.name}",
        metavar=_WORDS.get(field.name),
        help=text,
        converter=read,
        show_default=(lambda _: shown) if shown else False,
        consume_multiple=several,
        negative="",
        negative_iterable=(),
    )


def _read(name: str, hint: Any, words: list[str]) -> Any:
    """Parse the words of a flag according to its type."""
    if get_origin(hint) is tuple:
        return as_numbers(name, words) if hint == tuple[float, ...] else tuple(words)
    (word,) = words
    if hint == Truth:
        return as_truth(name, word)
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])(as_choice(name, word, hint))
    return as_number(name, word, whole=hint is int) if hint in (int, float) else word


if TYPE_CHECKING:
    InetworkFlags = InetworkOptions
else:
    InetworkFlags = _as_flags()


def inetwork(
    *words: str,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=_MESSAGES)] = None,
    run: Annotated[UngroupedRunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    flags: Annotated[InetworkFlags | None, Parameter(name="*", group=_OPTIONS)] = None,
    report: Annotated[bool, Parameter(group=_MESSAGES, negative="", show_default=False)] = False,
) -> int:
    """Paint like INetwork.py, and save each iteration as PREFIX_at_iteration_N.png.

    Args:
        words: CONTENT STYLE... PREFIX: the photo, one or more style pictures (or names from "impasto styles list"), and the
            prefix of the result files.
        output_options: Messages.
        run: Device and precision.
        flags: The flags of INetwork.py.
        report: Measure the last result and print the figures of "impasto report"; with --json, add them to the record.
    """
    from impasto.runtime.memory import memory_in_words

    options, run_on, output_options = InetworkOptions(**given(flags)), Run(**given(run)), output_options or OutputOptions()
    content, styles, prefix = split_words(words)
    masks = filter(None, (*options.style_masks, options.content_mask, options.color_mask))
    check_results(prefix, options.num_iter, (content, *styles, *masks, options.init_image))
    with memory_in_words(options.image_size, "--image_size"):
        request, pastiche, path = _paint(content, styles, prefix, options, run_on, output_options)
        _conclude(request, pastiche, path, output_options, is_measured=report)
    failures = pastiche.record.get("notes", [])
    return fail_with(f"{failures[-1]}; the last result is {path}", FAILED_EXIT) if failures else 0


def _paint(
    content: str, styles: tuple[str, ...], prefix: str, options: InetworkOptions, run: Run, output_options: OutputOptions
) -> "tuple[InetworkRequest, Pastiche, Path]":
    """Read the pictures, describe the run, paint, and save each iteration. Return the request, the last result and its path."""
    from impasto.cli.session import set_threads
    from impasto.compat import inetwork as recipe
    from impasto.recipes.painting import read_content, read_styles

    set_threads(run)
    console = message_console(quiet=output_options.quiet)
    request = recipe.request_for(read_content(content), read_styles(styles), options, run)
    context = recipe.set_up(request)
    for note in (*recipe.mask_notes(request), *recipe.repairs(request)):
        console.print(note)
    console.print(announcement(request, context.arithmetic.device.type))
    before: Step | None = None
    for step in recipe.iterations(request, context):
        path = result(prefix, step.number)
        pastiche = recipe.pastiche_of(request, context, step)
        path = _save(pastiche, path)
        console.print(in_words(step, before, path))
        before = step
    return request, pastiche, path


def _save(pastiche: "Pastiche", path: Path) -> Path:
    """Save a result. If it cannot be saved at the path, save it elsewhere and print the new path."""
    from impasto.cli.outputs import print_notes, save_pastiche

    saved = save_pastiche(pastiche, Files(output=path))
    print_notes(saved)
    return saved.output


def _conclude(
    request: "InetworkRequest", pastiche: "Pastiche", path: Path, output_options: OutputOptions, *, is_measured: bool
) -> None:
    """Print the record and the figures of the last result, if they were requested."""
    from impasto import images
    from impasto.cli.report import print_figures
    from impasto.cli.session import figures_by_name
    from impasto.compat.inetwork import settled_options
    from impasto.recipes.reporting import reports_of

    picture = dataclasses.replace(images.read(pastiche.image), name=path.name)
    weights = settled_options(request).style_weights
    figures = reports_of(request.photo, request.styles, [picture], weights) if is_measured else []
    if output_options.json:
        print(json.dumps({**pastiche.record, **figures_by_name(figures), "output": str(path)}), flush=True)
    if figures:  # the user requested them with --report, so print them even with --quiet
        print_figures(figures, message_console(quiet=False, to_stderr=output_options.json))


def split_words(words: tuple[str, ...]) -> tuple[str, tuple[str, ...], str]:
    """Split the arguments into the photo, the styles and the prefix.

    Raises:
        OptionError: there are fewer than three words, or the last word is a picture file.
    """
    if len(words) < 3:
        missing = ("content, style and prefix are", "style and prefix are", "the prefix is")[len(words)]
        raise OptionError(f"{missing} missing: {_USAGE}")
    content, *styles, prefix = words
    if os.path.isfile(prefix) and Path(prefix).suffix.lower() in _PICTURES:
        raise OptionError(f"the last argument {prefix!r} is a picture, so the prefix seems to be missing: {_USAGE}")
    return content, tuple(styles), prefix


def result(prefix: str, number: int) -> Path:
    """Return the path of an iteration's result, named as in INetwork.

    Example:
        >>> result("out/wolf", 10).name
        'wolf_at_iteration_10.png'
    """
    return Path(f"{prefix}_at_iteration_{number}.png")


def check_results(prefix: str, count: int, inputs: tuple[str, ...]) -> None:
    """Check before painting that the results can be written and do not overwrite an input.

    Raises:
        ImageFileError: the results cannot be written.
        OptionError: a result is also an input.
    """
    from impasto import images
    from impasto.cli.overwriting import check_overwrites

    results = [result(prefix, number) for number in range(1, count + 1)]
    for path in results:
        if path in (results[0], results[-1]) or os.path.lexists(path):
            check_overwrites({"the result": path}, inputs)
    for path in {results[0], results[-1]}:
        images.check_writable(path)


def announcement(request: "InetworkRequest", device: str) -> str:
    """Describe the run before it starts."""
    (height, width), count = request.size, request.flags.num_iter
    rounds = "1 iteration" if count == 1 else f"{count} iterations"
    return f"painting {width}x{height} pixels in {rounds} of 20 evaluations; {request.encoder} on {device}"


def in_words(step: "Step", before: "Step | None", path: Path) -> str:
    """Describe an iteration after it ends."""
    better = f", {100 * (before.loss - step.loss) / abs(before.loss):.2g} % less" if before and before.loss else ""
    took = duration(step.seconds - (before.seconds if before else 0))
    left = f"; about {duration(step.seconds_left)} left" if step.number < step.total else ""
    loss = f"loss {step.loss:.4g}{better} ({losses_in_words(step.losses)})"
    note = f"; {step.note}" if step.note else ""
    return f"iteration {step.number} of {step.total}: {loss}; {took}; {path}{left}{note}"
