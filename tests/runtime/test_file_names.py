"""File names made from any text."""

from itertools import islice

import pytest

from impasto.runtime.file_names import LONGEST_BYTES, cut, file_name, numbered


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("painted", "painted.png"),
        ('a<b>:"/\\|?*c', "a_b________c.png"),
        ("two\nlines\t", "two_lines_.png"),
        (" . name . ", "name.png"),
        ("--flag", "flag.png"),
        ("", "painting.png"),
        (" ...", "painting.png"),
    ],
)
def test_a_name_has_no_character_that_a_file_system_forbids(text: str, name: str) -> None:
    assert file_name(text, ".png") == name


@pytest.mark.parametrize("letter", ["a", "ä", "画", "👩‍🎨"])
def test_a_long_name_is_shortened_to_the_limit_and_differs_from_that_of_another_long_text(letter: str) -> None:
    first, second = file_name(letter * 300, ".safetensors"), file_name(letter * 301, ".safetensors")
    assert first != second
    for name in (first, second):
        assert name.endswith(".safetensors")
        assert LONGEST_BYTES - len(letter.encode()) < len(name.encode()) <= LONGEST_BYTES


@pytest.mark.parametrize(
    ("text", "most_bytes", "kept"),
    [
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("äb", 1, ""),
        ("e\u0301x", 2, ""),  # an accent is not split from its letter
        ("a👋🏽", 6, "a"),  # nor a skin tone from its emoji
        ("a👩‍🎨", 8, "a"),  # nor the parts of a joined emoji
        ("🇩🇪🇫🇷", 12, "🇩🇪"),  # nor the two halves of a flag
    ],
)
def test_a_cut_splits_no_displayed_character(text: str, most_bytes: int, kept: str) -> None:
    assert cut(text, most_bytes) == kept


def test_numbers_start_with_two_and_stay_before_the_suffix() -> None:
    assert list(islice(numbered("a/b", ".png"), 3)) == ["a_b.png", "a_b-2.png", "a_b-3.png"]
