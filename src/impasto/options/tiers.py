"""The tiers of the options: basic options, which ``--help`` and the studio always show, and the other options by group.

Both the help and the studio read the tiers from here. A field that is added to a group belongs to the tier of that group.
"""

import dataclasses
import inspect

BASICS = "Basics"
"""Title of the first tier."""


def tiers_of(options: type) -> dict[str, tuple[str, ...]]:
    """Return the names of the fields of an option dataclass by tier, in the order of ``--help-all``.

    The first tier holds ``options.basics``, in that order. The other tiers hold the remaining fields, one tier for each class
    with a ``title`` of its own. The fields of a class without a title are basic.

    Example:
        >>> from impasto.options import Run
        >>> tiers_of(Run)
        {'Basics': ('seed',), 'Device and precision': ('device', 'precision', 'threads', 'max_memory')}
    """
    basics: tuple[str, ...] = getattr(options, "basics", ())
    tiers = {BASICS: basics}
    for group in reversed(options.__mro__):
        own = inspect.get_annotations(group)
        names = tuple(each.name for each in dataclasses.fields(options) if each.name in own and each.name not in basics)
        if names:
            title = vars(group).get("title", BASICS)
            tiers[title] = (*tiers.get(title, ()), *names)
    return {title: names for title, names in tiers.items() if names}


def tier_by_name(options: type) -> dict[str, str]:
    """Return, for each field of an option dataclass, the title of its tier; sorted by tier."""
    return {name: title for title, names in tiers_of(options).items() for name in names}
