"""File names made from any text. They are printable and short enough for any file system."""

import hashlib
import unicodedata
from collections.abc import Iterator
from itertools import count

LONGEST_BYTES = 140
"""Maximum length of a name, including its suffix. Encrypted folders allow at most 143 bytes, other folders 255 bytes."""
_HASH_DIGITS = 8
_FORBIDDEN = '<>:"/\\|?*'
"""Printable characters that some file systems do not allow in names."""
_JOINER = "\u200d"


def file_name(stem: str, suffix: str) -> str:
    """Make a file name from any text. Forbidden characters become ``_``, and a long name is shortened.

    A shortened name ends with a hash of the whole text, so two different long texts get different names.

    Example:
        >>> file_name("a:b", ".png"), len(file_name("a" * 300, ".png"))
        ('a_b.png', 140)
    """
    plain = "".join("_" if letter in _FORBIDDEN or not _is_printable(letter) else letter for letter in stem)
    plain = plain.strip(" .").lstrip("-") or "painting"
    most_bytes = LONGEST_BYTES - len(suffix.encode())
    if len(plain.encode()) > most_bytes:
        digest = hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
        plain = f"{cut(plain, most_bytes - _HASH_DIGITS - 1)}-{digest}"
    return plain + suffix


def cut(text: str, most_bytes: int) -> str:
    """Cut a text to a maximum number of UTF-8 bytes, without splitting a displayed character (a grapheme).

    Example:
        >>> cut("Äpfel", 3), cut("a👩‍🎨", 8)
        ('Äp', 'a')
    """
    kept = text.encode()[:most_bytes].decode(errors="ignore")
    while kept and len(kept) < len(text) and _belong_together(kept, text[len(kept)]):
        kept = kept[:-1]
    return kept


def _belong_together(kept: str, after: str) -> bool:
    """Return whether a code point continues the grapheme before it: accents, skin tones, joined emoji, flags."""
    if after == _JOINER or kept[-1] == _JOINER or unicodedata.category(after) in ("Mn", "Me", "Mc") or "🏻" <= after <= "🏿":
        return True
    halves = len(kept) - len(kept.rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
    return halves % 2 == 1 and "\U0001f1e6" <= after <= "\U0001f1ff"


def _is_printable(letter: str) -> bool:
    return letter.isprintable() or letter == _JOINER


def numbered(stem: str, suffix: str) -> Iterator[str]:
    """Yield file names for a text: first without a number, and then with the numbers from 2 on."""
    yield file_name(stem, suffix)
    for number in count(2):
        yield file_name(stem, f"-{number}{suffix}")
