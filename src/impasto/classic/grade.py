"""Grade a student's version of the assignment's functions: ``python -m impasto.classic.grade exercise.py``.

Each failed check prints one sentence that describes the problem. The checks compare the student's results with those of
:mod:`impasto.classic`, and with the results of common mistakes.
"""

import copy
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impasto.compat import classic
from impasto.errors import ImpastoError, OptionError

__all__ = ["CHECKS", "Check", "grade", "main"]

Array = NDArray[np.float64]
Functions = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One check of one function.

    Attributes:
        function: name of the student's function.
        title: short description of the check.
        arguments: the arguments of the call.
        wanted: the correct result.
        mistakes: results of known mistakes; each key is the sentence that explains the mistake.

    Example:
        >>> check = Check("total_cost", "defaults", (1.0, 2.0), 90.0, {"alpha and beta are swapped.": 60.0})
        >>> check.problem({"total_cost": lambda content, style: 40 * content + 10 * style})
        'total_cost (defaults): alpha and beta are swapped.'
        >>> check.problem({"total_cost": lambda content, style: 10 * content + 40 * style})
        ''
    """

    function: str
    title: str
    arguments: tuple[Any, ...]
    wanted: Any
    mistakes: Mapping[str, Any]

    def problem(self, functions: Functions) -> str:
        """Return a sentence that describes the problem of the student's function; empty if it is correct."""
        sentence = self._sentence(functions)
        return sentence and f"{self.function} ({self.title}): {sentence}"

    def _sentence(self, functions: Functions) -> str:
        function = functions.get(self.function)
        if not callable(function):
            return "the file does not define this function."
        try:
            found = function(*copy.deepcopy(self.arguments))  # a function may change its arguments in place
        except Exception as error:
            return f"it raised {type(error).__name__}: {str(error).rstrip('.')}."
        if found is None or found is Ellipsis:
            return "it returns nothing yet; write the missing lines and return the result."
        return _compared(found, self.wanted, self.mistakes)


def _compared(found: Any, wanted: Any, mistakes: Mapping[str, Any]) -> str:
    """Describe how a result differs from the expected one; empty if it does not."""
    try:
        array = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        return f"it returns {type(found).__name__}; return a number or an array of numbers."
    if _is_close(array, wanted):
        return ""
    for sentence, value in mistakes.items():
        if _is_close(array, value):
            return sentence
    if array.shape != np.shape(wanted):
        kind = "one number" if np.ndim(wanted) == 0 else f"an array of shape {np.shape(wanted)}"
        return f"it returns an array of shape {array.shape}; it must return {kind}."
    if np.ndim(wanted):
        return "it returns an array of the right shape with wrong values."
    return f"it returns {float(array):.6g}; the right value is {float(wanted):.6g}."


def _is_close(array: Array, value: Any) -> bool:
    return array.shape == np.shape(value) and np.allclose(array, value, rtol=1e-5)


def _activations(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def _content_checks() -> Iterator[Check]:
    a_C, a_G = (_activations(1, 4, 5, 3, seed=seed) for seed in (0, 1))
    other = _activations(1, 8, 10, 2, seed=2), _activations(1, 8, 10, 2, seed=3)
    squares, right = float(((a_C - a_G) ** 2).sum()), classic.content_cost(a_C, a_G)
    mistakes = {
        "it does not divide; divide the sum by 4 * n_H * n_W * n_C.": squares,
        "it divides by n_H * n_W * n_C only; the factor 4 is missing.": squares / 60,
        "it divides by 4 only; the sizes n_H, n_W and n_C are missing.": squares / 4,
        "it divides by 2, as in the paper; the assignment divides by 4 * n_H * n_W * n_C.": squares / 2,
        "it does not square the differences; without squares, they cancel.": float((a_C - a_G).sum()) / 240,
        "it uses absolute differences; use their squares.": float(np.abs(a_C - a_G).sum()) / 240,
        "it compares the first layer; the content layer is the last one.": classic.content_cost(*other),
    }
    yield Check("compute_content_cost", "two layers", ([other[0], a_C], [other[1], a_G]), right, mistakes)
    yield Check("compute_content_cost", "a picture and itself", ([a_C], [a_C]), 0.0, {})


def _gram_checks() -> Iterator[Check]:
    A = _activations(3, 20, seed=4)
    mistakes = {
        "it multiplies in the wrong order: (n_H * n_W) x (n_H * n_W); multiply A by its transpose to get (n_C, n_C).": A.T @ A,
        "it divides by the number of positions; the assignment's Gram matrix is a sum.": A @ A.T / 20,
        "it multiplies A by itself element by element; use the matrix product of A and its transpose.": A * A,
        "it subtracts the mean of each channel; the Gram matrix does not.": np.cov(A, bias=True) * 20,
    }
    yield Check("gram_matrix", "three channels", (A,), A @ A.T, mistakes)


def _layer_checks() -> Iterator[Check]:
    a_S, a_G = (_activations(1, 4, 5, 3, seed=seed) for seed in (5, 6))
    G_S, G_G = (classic.gram_matrix(a.reshape(20, 3).T) for a in (a_S, a_G))
    mixed = [classic.gram_matrix(a.reshape(3, 20)) for a in (a_S, a_G)]
    squares, divisor = float(((G_S - G_G) ** 2).sum()), 4 * 3**2 * 20**2
    mistakes = {
        "it does not divide; divide the sum by 4 * n_C**2 * (n_H * n_W)**2.": squares,
        "the factor 4 is missing in the divisor.": squares * 4 / divisor,
        "the divisor has n_C; it needs n_C squared.": squares * 3 / divisor,
        "the divisor has n_H * n_W; it needs (n_H * n_W) squared.": squares * 20 / divisor,
        "it divides by 4 * n_H * n_W * n_C, which is the divisor of the content cost.": squares / 240,
        "it mixes the channels: reshape to (n_H * n_W, n_C), then transpose; do not reshape to (n_C, n_H * n_W) directly.": (
            float(((mixed[0] - mixed[1]) ** 2).sum()) / divisor
        ),
        "it does not square the differences; without squares, they cancel.": float((G_S - G_G).sum()) / divisor,
    }
    yield Check("compute_layer_style_cost", "one layer", (a_S, a_G), squares / divisor, mistakes)
    moved = a_S[:, ::-1, ::-1].copy()
    yield Check("compute_layer_style_cost", "shuffled positions, cost 0", (a_S, moved), 0.0, {})


def _style_checks() -> Iterator[Check]:
    shapes = ((8, 8, 2), (4, 4, 3), (2, 2, 5))  # two style layers and the content layer
    style, picture = ([_activations(1, *shape, seed=10 * k + i) for i, shape in enumerate(shapes)] for k in (1, 2))
    costs = [classic.layer_style_cost(a, b) for a, b in zip(style, picture, strict=True)]
    layers = [("first", 0.7), ("second", 0.1)]
    mistakes = {
        "it ignores the weights of STYLE_LAYERS.": costs[0] + costs[1],
        "it uses 0.2 for each layer; use the weights of the argument STYLE_LAYERS.": 0.2 * (costs[0] + costs[1]),
        "it skips the first layer; skip the last one, the content layer.": 0.7 * costs[1] + 0.1 * costs[2],
        "it includes the last layer, which is the content layer.": costs[0] * 0.7 + costs[1] * 0.1 + costs[2],
        "it returns the cost of the last style layer; add up those of all.": 0.1 * costs[1],
    }
    yield Check("compute_style_cost", "two layers", (style, picture, layers), 0.7 * costs[0] + 0.1 * costs[1], mistakes)


def _total_checks() -> Iterator[Check]:
    exchanged = "alpha and beta are swapped: alpha belongs to the content, beta to the style."
    unweighted = "it ignores alpha and beta."
    yield Check("total_cost", "default weights", (2.0, 3.0), 140.0, {exchanged: 110.0, unweighted: 5.0})
    mistakes = {exchanged: 29.0, unweighted: 5.0, "it always uses 10 and 40; use the arguments alpha and beta.": 140.0}
    yield Check("total_cost", "own weights", (2.0, 3.0, 5, 7), 31.0, mistakes)


CHECKS: tuple[Check, ...] = (*_content_checks(), *_gram_checks(), *_layer_checks(), *_style_checks(), *_total_checks())
"""All checks, in the order of the assignment."""


def grade(path: str | Path) -> list[str]:
    """Run a student's file and check its functions.

    Args:
        path: a Python file that defines the functions of the assignment for NumPy arrays. The file is executed: grade only
            files that you would run.

    Returns:
        One sentence for each failed check; empty if all pass.

    Raises:
        OptionError: the file does not exist, or an error occurs when it runs.

    Example:
        >>> _ = Path("mine.py").write_text("from impasto.classic import *; gram_matrix = lambda A: A * A")
        >>> grade("mine.py")
        ['gram_matrix (three channels): it multiplies A by itself element by element; use the matrix product of A and its
        transpose.']
    """
    if not Path(path).is_file():
        raise OptionError(f"{path} is not a file; give the Python file with your functions")
    try:
        functions = runpy.run_path(str(path))
    except Exception as error:
        raise OptionError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return [problem for problem in (check.problem(functions) for check in CHECKS) if problem]


def main(arguments: Sequence[str], write: Callable[[str], object] = print) -> int:
    """Grade a file and write the problems.

    Args:
        arguments: the path of the file.
        write: called with each line.

    Returns:
        The exit code. 0: all checks pass; 1: some fail; 2: the file cannot be graded.

    Raises:
        OSError: only if ``write`` does.

    Example:
        >>> _ = Path("all.py").write_text("from impasto.classic import *")
        >>> main(["all.py"])
        8 of 8 checks pass
        0
    """
    if len(arguments) != 1:
        write("give one file: python -m impasto.classic.grade exercise.py")
        return 2
    try:
        problems = grade(arguments[0])
    except ImpastoError as error:
        write(str(error))
        return 2
    for problem in problems:
        write(problem)
    write(f"{len(CHECKS) - len(problems)} of {len(CHECKS)} checks pass")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
