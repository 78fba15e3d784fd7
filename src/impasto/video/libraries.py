"""PyAV and OpenCV. They are imported on first use, because they are optional."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from impasto.errors import OptionError

_PACKAGES = {"av": "av (PyAV)", "cv2": "opencv-python-headless"}


def check_libraries() -> None:
    """Check that PyAV and OpenCV are installed.

    Raises:
        OptionError: a package is missing; the message names the extra.
    """
    missing = [words for name, words in _PACKAGES.items() if find_spec(name) is None]
    if missing:
        raise OptionError(f"video needs {' and '.join(missing)}; pip install 'impasto[video]'")


def pyav() -> Any:
    """Return the module ``av``."""
    return _loaded("av")


def opencv() -> Any:
    """Return the module ``cv2``."""
    return _loaded("cv2")


def _loaded(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:  # the package is missing, or one of its shared libraries
        raise OptionError(f"video needs {_PACKAGES[name]} ({error}); pip install 'impasto[video]'") from error
