"""The command line: one file for each command, and each is imported only when it is called, so that ``--help`` is instant.

The library raises; here alone an error becomes a sentence and an exit code: 2 for whatever a user can put right, 1 where the
result is saved but its objective did not fall, 130 for an interruption. Any other exception is a bug and shows its traceback.
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
    help="Paint a photo in the manner of a picture.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(
    "impasto.cli.paint:paint", name="paint", help="Paint a photo in the manner of one or several pictures, or of a named style."
)
app.command(
    "impasto.cli.instant:instant", name="instant", help="Paint a photo in any style in one pass, in a tenth of a second."
)
app.command("impasto.cli.regions:regions", name="regions", help="Show the regions that are found in a photo, to paint by name.")
app.command("impasto.cli.inetwork:inetwork", name="inetwork", help="Paint as INetwork.py does, by its own flags.")
app.command(
    "impasto.cli.report:report", name="report", help="Measure results beside the photo and the style they were made from."
)
app.command("impasto.cli.tune:tune", name="tune", help="Try settings on a sheet, or search for a wanted strength of the style.")
app.command("impasto.cli.demo:demo", name="demo", help="Paint a photo that comes along in a style that comes along.")
app.command("impasto.cli.styles:app", name="styles", help="List and show the named styles, add your own and remove them.")
app.command("impasto.cli.studio:studio", name="studio", help="Open the studio: a page in the browser, served by this machine.")
app.command(
    "impasto.cli.studio_worker:studio_worker",
    name="studio-worker",
    help="Paint for a studio on another machine, through Redis.",
)
app.command("impasto.cli.weights:app", name="weights", help="List, fetch, import and verify the weights of encoders.")
app.command("impasto.cli.export:app", name="export", help="Write the networks for other programs: ONNX.")
app.command("impasto.cli.train:app", name="train", help="Train the networks that impasto paints with.")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: the arguments; by default those of this program.

    Returns:
        The exit code: 0, 1 where painting failed or its result could not be written to where it was wanted, 2 where something
        was wrong with what was asked for, 130 where the user interrupted.
    """
    from impasto.cli.streams import reason_of, safe_streams

    words = sys.argv[1:] if words is None else words
    with safe_streams() as out:
        code = _run(words)
        out.flush()
        if out.failure is None:
            return code
        if not isinstance(out.failure, BrokenPipeError):  # else whoever read our output has read enough
            complain(f"the standard output cannot be written to ({reason_of(out.failure)})", FAILED_EXIT)
        return code or FAILED_EXIT


def _run(words: Sequence[str]) -> int:
    """Run a command; turn whatever a user can put right into a sentence and a code."""
    from rich.console import Console

    from impasto.cli.pipes import marked
    from impasto.cli.signals import interruptible

    if words[:1] == ["inetwork"] or words[:1] == ("inetwork",):
        from impasto.cli.inetwork import list_flags_last

        words = list_flags_last(words)
    try:
        with interruptible():
            code = app(marked(words), exit_on_error=False, print_error=False, console=Console(file=sys.stdout))
    except (CycloptsError, ImpastoError) as error:
        return complain(str(error), USAGE_EXIT)
    except KeyboardInterrupt:
        print("impasto: interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT
    return code if isinstance(code, int) else 0


def complain(sentence: str, code: int) -> int:
    """Print what went wrong; return the exit code that goes with it."""
    print(f"impasto: {' '.join(sentence.split())}", file=sys.stderr)
    return code
