"""The command line, with one file per command. A command is imported when it is called, so ``--help`` is fast.

The library raises exceptions, and only this package turns them into a message and an exit code. The exit code is 2 for an error
that the user can fix, 1 if the result is saved but its objective did not decrease, and 130 for an interruption. Any other
exception is a bug, and its traceback is printed.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from impasto._version import __version__
from impasto.errors import ImpastoError

FAILED_EXIT = 1
USAGE_EXIT = 2
INTERRUPTED_EXIT = 130

app = App(
    name="impasto",
    help="Neural style transfer: paint a photo in the style of a picture.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command("impasto.cli.paint:paint", name="paint", help="Paint a photo in the style of one or several pictures.")
app.command("impasto.cli.doodle:doodle", name="doodle", help="Paint a map of flat colors in the style of a picture.")
app.command("impasto.cli.analogy:analogy", name="analogy", help="Change B in the same way as A was changed to get A'.")
app.command("impasto.cli.texture:texture", name="texture", help="Make a picture of any size from pieces of other pictures.")
app.command("impasto.cli.instant:instant", name="instant", help="Paint a photo in any style in one pass, in about a second.")
app.command("impasto.cli.apply:apply", name="apply", help="Paint photos with a brush, a small network for one style.")
app.command("impasto.cli.batch:batch", name="batch", help="Paint many photos in many styles; continues if interrupted.")
app.command("impasto.cli.video:video", name="video", help="Paint a clip with little flicker, and keep its sound.")
app.command("impasto.cli.regions:regions", name="regions", help="Show the regions found in a photo, for use as masks.")
app.command(
    "impasto.cli.inetwork:inetwork", name="inetwork", help="Run with the options and defaults of titu1994's INetwork.py."
)
app.command(
    "impasto.cli.neural_doodle:neural_doodle",
    name="neural-doodle",
    help="Run with the options of alexjc's neural-doodle; maps are found by name.",
)
app.command(
    "impasto.cli.fast_neural_style:app",
    name="fast-neural-style",
    help="Run with the options of pytorch/examples' fast_neural_style and its networks.",
)
app.command(
    "impasto.cli.fast_style_transfer:fast_style_transfer",
    name="fast-style-transfer",
    help="Run with the options of lengstrom's evaluate.py and its networks.",
)
app.command("impasto.cli.report:report", name="report", help="Measure results against their photo and style.")
app.command("impasto.cli.tune:tune", name="tune", help="Compare settings on a contact sheet, or search for a style strength.")
app.command("impasto.cli.demo:demo", name="demo", help="Paint a sample photo in a shipped style.")
app.command("impasto.cli.styles:app", name="styles", help="List, show, add and remove named styles.")
app.command("impasto.cli.brushes:app", name="brushes", help="List, show and convert brushes.")
app.command("impasto.cli.studio:studio", name="studio", help="Start the web studio and open it in the browser.")
app.command(
    "impasto.cli.studio_worker:studio_worker",
    name="studio-worker",
    help="Run a worker for a studio on another machine, through Redis.",
)
app.command("impasto.cli.weights:app", name="weights", help="List, download, import and verify encoder weights.")
app.command("impasto.cli.export:app", name="export", help="Export networks to ONNX.")
app.command("impasto.cli.train:app", name="train", help="Train networks.")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: the arguments; by default, the command-line arguments of this program.

    Returns:
        The exit code: 0 on success; 1 if painting failed, or if the result could not be written to the requested output; 2 if
        the input is invalid; 130 if the user interrupted.
    """
    from impasto.cli.streams import reason_of, safe_streams

    words = sys.argv[1:] if words is None else words
    with safe_streams() as out:
        code = _run(words)
        out.flush()
        if out.failure is None:
            return code
        if not isinstance(out.failure, BrokenPipeError):  # no message if the reader closed the pipe, as ``head`` does
            fail_with(f"cannot write to standard output ({reason_of(out.failure)})", FAILED_EXIT)
        return code or FAILED_EXIT


def _run(words: Sequence[str]) -> int:
    """Run a command. Turn an error that the user can fix into a message and an exit code."""
    from rich.console import Console

    from impasto.cli.pipes import marked
    from impasto.cli.signals import interruptible

    if words[:1] == ["inetwork"] or words[:1] == ("inetwork",):
        from impasto.cli.inetwork import list_flags_last

        words = list_flags_last(words)
    if len(words) > 1 and {"--help", "-h"} & set(words):
        from impasto.cli.short_help import has_short_help, short_help

        if has_short_help(words[0]):
            print(short_help(words[0]))
            return 0
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        with interruptible():
            code = app(marked(words), exit_on_error=False, print_error=False, console=Console(file=sys.stdout))
    except (CycloptsError, ImpastoError) as error:
        return fail_with(str(error), USAGE_EXIT)
    except KeyboardInterrupt:
        print("impasto: interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT
    return code if isinstance(code, int) else 0


def fail_with(sentence: str, code: int) -> int:
    """Print an error message and return its exit code."""
    print(f"impasto: {' '.join(sentence.split())}", file=sys.stderr)
    return code
