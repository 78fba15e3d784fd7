"""Introspection of options dataclasses: the help texts of fields, and checks of types and ranges.

This module does not import torch, so ``--help`` is fast.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from impasto.errors import OptionError, nearest_name


def field_texts(options: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass and of its bases, by field name."""
    texts = {}
    for each in reversed(options.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                texts[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return texts


def dashed(name: str) -> str:
    """Return an option's name in its command line form: ``style_weight`` becomes ``--style-weight``."""
    return "--" + name.replace("_", "-")


def no_effect_note(given: Iterable[str], reasons: Mapping[str, str]) -> str:
    """Return a note that lists the given options that have no effect, with reasons; empty if every option has an effect.

    Example:
        >>> no_effect_note(["iterations", "variety"], {"iterations": "the size determines the iterations"})
        'options without effect: --iterations (the size determines the iterations)'
    """
    found = [f"{dashed(name)} ({reasons[name]})" for name in given if name in reasons]
    return f"options without effect: {', '.join(found)}" if found else ""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise OptionError unless ``low <= value <= high``; NaN is rejected."""
    if not low <= value <= high:
        raise OptionError(f"{dashed(name)} is {value!r}; it must be a number from {low:g} to {high:g}")


def check_values(options: Any) -> None:
    """Raise OptionError unless every field has its annotated type and is within ``options.ranges``."""
    check_kinds(options)
    for name, (low, high) in options.ranges.items():
        check_range(name, getattr(options, name), low, high)


def check_kinds(options: Any) -> None:
    """Raise OptionError unless every field has its annotated type; lists are converted to tuples."""
    hints = get_type_hints(type(options))
    for name in (each.name for each in dataclasses.fields(options)):
        hint, value = hints[name], getattr(options, name)
        if get_origin(hint) is Literal:
            check_choice(name, value, get_args(hint))
        elif get_origin(hint) is tuple:
            if not isinstance(value, list | tuple):
                raise OptionError(f"{dashed(name)} is {value!r}; give several values, as a tuple")
            for each in value:
                check_kind(name, each, get_args(hint)[0])
            object.__setattr__(options, name, tuple(value))
        else:
            check_kind(name, value, hint)


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise OptionError unless a value is allowed."""
    if value not in allowed:
        raise OptionError(f"{dashed(name)} {value!r} is not known{nearest_name(str(value), allowed)}")


def check_kind(name: str, value: object, kind: type) -> None:
    """Raise OptionError unless a value has the given type. float also accepts int; float and int reject bool."""
    kinds = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}[kind]
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[kind]
        raise OptionError(f"{dashed(name)} is {value!r}; it must be {wanted}")
