"""``impasto styles``: output, files and errors."""

from pathlib import Path

import pytest
import skimage.data

from impasto import images
from impasto.cli import main
from impasto.recipes import naming
from impasto.styles import named as styles
from impasto.styles.named import load_style


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with photo.jpg and picture.jpg; return the folder of own styles, which does not exist yet."""
    images.write(tmp_path / "photo.jpg", images.read(skimage.data.astronaut()[:384:4, 32:416:4]))
    images.write(tmp_path / "picture.jpg", images.read(skimage.data.coffee()[::4, ::4]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMPASTO_STYLES", str(tmp_path / "own"))
    whole = naming.measured_style
    monkeypatch.setattr(naming, "measured_style", lambda *facts: whole(*facts, sizes=(32, 64)))  # to save time
    return tmp_path / "own"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must succeed, and return its output."""
    assert main(["styles", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail with exit code 2 and one sentence; return the sentence."""
    assert main(["styles", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    return str(err)


@pytest.mark.slow
def test_a_style_is_added_listed_shown_used_and_removed(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    out = run(capsys, "add", "picture.jpg", "--name", "coffee", "--title", "A [cup]", "--artist", "R. Me", "--license", "CC0")
    file = own / "coffee.style.safetensors"
    assert out.startswith(f"{file}: ")
    assert "impasto paint PHOTO coffee" in out
    listed = run(capsys, "list")
    assert any(line.split() == ["coffee", "A", "[cup]", "R.", "Me", "you"] for line in listed.splitlines())
    assert any(line.startswith("great-wave") and line.split()[-1] == "impasto" for line in listed.splitlines())
    shown = run(capsys, "show", "coffee")
    assert "title: A [cup]\n" in shown
    assert "relu5_1" in shown
    assert f"file: {file}\n" in shown
    small = ("--size", "48", "--steps", "2", "--threads", "1", "--precision", "fp32", "--quiet")
    assert main(["paint", "photo.jpg", "coffee", "-o", "out.png", *small]) == 0
    record = images.read_record("out.png")
    assert record is not None
    assert record["styles"] == [{"name": "coffee", "kind": "named", "file_sha256": load_style(file).sha256}]
    assert run(capsys, "remove", "coffee") == f"removed {file}\n"
    assert "coffee" not in run(capsys, "list")


@pytest.mark.slow
def test_control_characters_of_a_style_file_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "add", "picture.jpg", "--name", "coffee", "--title", "A \x1b[2Jcup", "--artist", "Me\x07")
    assert "title: A  [2Jcup\n" in run(capsys, "show", "coffee")
    assert not {"\x1b", "\x07"} & set(run(capsys, "list"))


@pytest.mark.slow
def test_all_facts_of_a_picture_are_saved(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    facts = {"name": "coffee", "title": "A cup", "artist": "Me", "date": "2020", "source": "my desk", "licence": "CC0"}
    run(capsys, "add", "picture.jpg", *(word for fact, value in facts.items() for word in (f"--{fact}", value)))
    kept = load_style(own / "coffee.style.safetensors").facts
    assert {fact: kept[fact] for fact in facts} == facts
    shown = run(capsys, "show", str(own / "coffee.style.safetensors"))
    assert all(value in shown for value in facts.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "picture.jpg", "--name", "My Cup"), "such as 'my-cup'"),
        (("add", "picture.jpg", "--name", "starry-night"), "'starry-night' is shipped with impasto; choose another name"),
        (("add", "picture.jpg"), "name"),
        (("add", "missing.jpg", "--name", "coffee"), "missing.jpg"),
        (("remove", "starry-night"), "'starry-night' is shipped with impasto and cannot be removed"),
        (("remove", "coffee"), "'coffee' is not one of your own"),
        (("show", "wave"), "did you mean 'great-wave'?"),
    ],
)
def test_invalid_styles_are_refused_and_leave_no_files(
    capsys: pytest.CaptureFixture[str], own: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused(capsys, *words)
    assert not own.exists()


@pytest.mark.slow
def test_the_name_is_checked_before_the_picture_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "add", "picture.jpg", "--name", "coffee")
    monkeypatch.setattr(naming, "name_style", None)
    assert "impasto styles remove coffee" in refused(capsys, "add", "picture.jpg", "--name", "coffee")


def test_the_list_skips_an_unreadable_file(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    own.mkdir()
    (own / "cup.style.safetensors").write_bytes(b"damaged")
    listed = run(capsys, "list")
    assert "cannot be read" in next(line for line in listed.splitlines() if line.startswith("cup "))
    assert "great-wave" in listed
    assert "damaged" in refused(capsys, "show", "cup")


def test_the_list_prints_the_folder_of_own_styles_even_if_there_are_none(
    capsys: pytest.CaptureFixture[str], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(styles, "shipped_styles", dict)
    assert run(capsys, "list").startswith(f"your own styles: {own}; ")
