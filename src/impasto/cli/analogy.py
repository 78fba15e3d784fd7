"""``impasto analogy``: change B in the same way as A was changed to get A'."""

from typing import Annotated

from cyclopts import Parameter

from impasto.cli.flags import COMPUTED, WRITTEN, AnalogyFlags, Files, OutputOptions, RunFlags, given
from impasto.cli.pipes import from_stdin
from impasto.errors import OptionError
from impasto.options import Run
from impasto.options.fields import no_effect_note
from impasto.options.guided import AnalogyOptions

_OF_ENGINE = {"neural": ("kappa", "colors", "transfer"), "classic": ("analogy_weight", "coherence")}
"""Options that each engine ignores."""


def analogy(
    a: str | None = None,
    a_prime: str | None = None,
    b: str | None = None,
    /,
    *,
    files: Annotated[Files | None, Parameter(name="*", group=WRITTEN)] = None,
    output_options: Annotated[OutputOptions | None, Parameter(name="*", group=WRITTEN)] = None,
    run: Annotated[RunFlags | None, Parameter(name="*", group=COMPUTED)] = None,
    options: Annotated[AnalogyFlags | None, Parameter(name="*")] = None,
) -> int:
    """Change B in the same way as A was changed to get A'.

    Args:
        a: The photo of the example. One of the three pictures may be -, which reads standard input.
        a_prime: The painting of the photo A, with the same composition.
        b: The photo to paint.
        files: Output files.
        output_options: Messages.
        run: Device, precision and seed.
        options: Painting options.
    """
    if a is None or a_prime is None or b is None:
        raise OptionError("three pictures are needed: impasto analogy A A_PRIME B, where A_PRIME was painted from A")
    from impasto.cli.guided import named_files, run_guided, with_notes
    from impasto.recipes.analogy import AnalogyInputs, analogy_of
    from impasto.recipes.painting import read_content

    chosen, where = AnalogyOptions(**given(options)), Run(**given(run))
    has_json = output_options is not None and output_options.json
    files = named_files(files, (b, a_prime), (a, a_prime, b), has_json=has_json)
    pictures = [read_content(from_stdin(word)) for word in (a, a_prime, b)]
    note = no_effect_note(given(options), dict.fromkeys(_OF_ENGINE[chosen.engine], f"not used by --engine {chosen.engine}"))
    guided = with_notes(analogy_of(AnalogyInputs(*pictures), chosen, where), pictures, note)
    return run_guided(guided, where, files, output_options)
