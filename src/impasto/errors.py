"""The exceptions that impasto raises deliberately.

::

    ImpastoError
    ├── OptionError       (ValueError)  an option, a name or a number that is not allowed
    ├── ShapeError        (ValueError)  a picture or a tensor of a shape that cannot be used
    ├── ImageFileError    (OSError)     a picture file that cannot be read or written
    ├── ClipError         (OSError)     a clip that cannot be read or written
    ├── WeightsError      (OSError)     weights that are missing, damaged, unknown or unsafe
    ├── StyleFileError    (OSError)     a style file that is missing, damaged or from another version
    └── ResourceError     (MemoryError) not enough memory

Each message is one sentence that says what is wrong, gives the value, and says what is allowed and what to do. The command
line prints that sentence and exits with status 2; any other exception is a bug and shows its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ImpastoError(Exception):
    """Base class of all impasto exceptions."""


class OptionError(ImpastoError, ValueError):
    """An option, a name or a number that is not allowed."""


class ShapeError(ImpastoError, ValueError):
    """A picture or a tensor of a shape that cannot be used."""


class ImageFileError(ImpastoError, OSError):
    """A picture file that cannot be read or written."""


class ClipError(ImpastoError, OSError):
    """A clip that cannot be read or written."""


class WeightsError(ImpastoError, OSError):
    """Weights that are missing, damaged, unknown or unsafe."""


class StyleFileError(ImpastoError, OSError):
    """A style file that is missing, damaged or from another version."""


class ResourceError(ImpastoError, MemoryError):
    """Not enough memory."""


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """Return the end of an error message, which suggests the allowed name closest to a misspelled one.

    Returns:
        ``"; did you mean 'relu5_1'?"``, or ``"; allowed are 'a', 'b'"`` if no name is close.

    Example:
        >>> nearest_name("relu9_1", ["relu5_1", "conv1_1"])
        "; did you mean 'relu5_1'?"
    """
    names = list(allowed)
    near = get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; allowed are " + ", ".join(repr(each) for each in names)
