"""Numbers of bytes in words."""


def amount(count: float) -> str:
    """Return a number of bytes in words: in GiB, or in MiB if it is smaller.

    Example:
        >>> amount(1.5 * 2**30), amount(2**30 - 1), amount(300 * 2**20), amount(0)
        ('1.5 GiB', '1.0 GiB', '300 MiB', '0 MiB')
    """
    return f"{count / 2**20:.0f} MiB" if count < 1023.5 * 2**20 else f"{count / 2**30:.1f} GiB"
