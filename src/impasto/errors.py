"""The exceptions that impasto raises deliberately.

::

    ImpastoError
    ├── OptionError       (ValueError)  an option, a name or a number that is not allowed
    ├── ShapeError        (ValueError)  a picture or a tensor of a shape that cannot be used
    ├── ImageFileError    (OSError)     a picture file that cannot be read or written
    ├── ClipError         (OSError)     a clip that cannot be read or written
    ├── WeightsError      (OSError)     weights that are missing, damaged, unknown or unsafe
    ├── StyleFileError    (OSError)     a style file that is missing, damaged or from another version
    ├── ClusterError      (OSError)     a Ray cluster that cannot be reached or used
    └── ResourceError     (MemoryError) not enough memory

Each message is one sentence that says what is wrong, gives the value, and says what is allowed and what to do. The command
line prints that sentence and exits with status 2; any other exception is a bug and shows its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ImpastoError(Exception):
    """Base class of all impasto exceptions.

    Example:
        >>> import impasto
        >>> try:
        ...     impasto.paint("photo.jpg", "picture.jpg", size=7)
        ... except impasto.ImpastoError as error:
        ...     print(error)
        --size is 7; it must be a number from 32 to 100000
    """


class OptionError(ImpastoError, ValueError):
    """An option, a name or a number that is not allowed.

    Example:
        >>> import impasto
        >>> impasto.PaintOptions(strength=2)
        Traceback (most recent call last):
        impasto.errors.OptionError: --strength is 2; it must be a number from 0 to 1.5
    """


class ShapeError(ImpastoError, ValueError):
    """A picture or a tensor of a shape that cannot be used.

    Example:
        >>> import impasto, torch
        >>> impasto.read(torch.zeros(7))
        Traceback (most recent call last):
        impasto.errors.ShapeError: ...
    """


class ImageFileError(ImpastoError, OSError):
    """A picture file that cannot be read or written.

    Example:
        >>> import impasto
        >>> impasto.read("missing.jpg")
        Traceback (most recent call last):
        impasto.errors.ImageFileError: ...
    """


class ClipError(ImpastoError, OSError):
    """A clip that cannot be read or written.

    Example:
        >>> from impasto.video.clips import open_clip
        >>> open_clip("missing.mp4")
        Traceback (most recent call last):
        impasto.errors.ClipError: ...
    """


class WeightsError(ImpastoError, OSError):
    """Weights that are missing, damaged, unknown or unsafe.

    Example:
        >>> import impasto
        >>> impasto.apply("photo.jpg", "photo.jpg")
        Traceback (most recent call last):
        impasto.errors.WeightsError: ...
    """


class StyleFileError(ImpastoError, OSError):
    """A style file that is missing, damaged or from another version.

    Example:
        >>> from impasto.styles.named import load_style
        >>> load_style("photo.jpg")
        Traceback (most recent call last):
        impasto.errors.StyleFileError: ...
    """


class ClusterError(ImpastoError, OSError):
    """A Ray cluster that cannot be reached or used.

    Example:
        >>> from impasto.batch.cluster import check_address
        >>> check_address("ray://127.0.0.1:1")
        Traceback (most recent call last):
        impasto.errors.ClusterError: there is no Ray cluster at ray://127.0.0.1:1 ...
    """


class ResourceError(ImpastoError, MemoryError):
    """Not enough memory.

    Example:
        >>> import impasto
        >>> impasto.paint("photo.jpg", "picture.jpg", size=100_000)
        Traceback (most recent call last):
        impasto.errors.ResourceError: ...
    """


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """Return the end of an error message, which suggests the allowed name closest to a misspelled one.

    Returns:
        ``"; did you mean 'relu5_1'?"``, or ``"; use one of 'a', 'b'"`` if no name is close.

    Example:
        >>> nearest_name("relu9_1", ["relu5_1", "conv1_1"])
        "; did you mean 'relu5_1'?"
    """
    names = list(allowed)
    near = get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; use one of " + ", ".join(repr(each) for each in names)
