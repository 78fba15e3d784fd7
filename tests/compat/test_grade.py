"""Grading of a student's functions: correct ones pass, and each common mistake is named in one sentence."""

from pathlib import Path

import pytest

from impasto.classic.grade import CHECKS, grade, main
from impasto.errors import OptionError

TUTORIAL = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorial"
RIGHT = "import numpy as np\nfrom impasto.classic import *\n"
CONTENT = "def compute_content_cost(C, G):\n    a, b = C[-1], G[-1]\n    return {}\n"
LAYER = """
def compute_layer_style_cost(a_S, a_G):
    _, n_H, n_W, n_C = a_S.shape
    S, G = (gram_matrix(a.reshape(n_H * n_W, n_C).T) for a in (a_S, a_G))
    return ((S - G) ** 2).sum() / {}
"""
STYLE = """
def compute_style_cost(S, G, STYLE_LAYERS=STYLE_LAYERS):
    return sum({} * compute_layer_style_cost(s, g) for s, g, (_, weight) in zip(S, G, STYLE_LAYERS))
"""


def problems(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "mine.py"
    path.write_text(RIGHT + code, encoding="utf-8")
    return grade(path)


def test_the_functions_of_impasto_pass_all_checks(tmp_path: Path) -> None:
    assert problems(tmp_path, "") == []


def test_the_solution_passes_and_the_exercise_fails_every_check() -> None:
    assert grade(TUTORIAL / "solution.py") == []
    assert len(grade(TUTORIAL / "exercise.py")) == len(CHECKS)
    assert all("returns nothing yet" in each for each in grade(TUTORIAL / "exercise.py"))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (CONTENT.format("((a - b) ** 2).sum()"), "it does not divide"),
        (CONTENT.format("((a - b) ** 2).sum() / a.size"), "the factor 4 is missing"),
        (CONTENT.format("(a - b).sum() / (4 * a.size)"), "does not square the differences"),
        (CONTENT.replace("[-1]", "[0]").format("((a - b) ** 2).sum() / (4 * a.size)"), "the content layer is the last one"),
        ("def gram_matrix(A):\n    return A.T @ A\n", "wrong order"),
        ("def gram_matrix(A):\n    return A @ A.T / A.shape[1]\n", "divides by the number of positions"),
        ("def gram_matrix(A):\n    return 'G'\n", "it returns str"),
        ("def gram_matrix(A):\n    return (A @ A.T)[:2]\n", r"shape \(2, 3\); it must return an array of shape \(3, 3\)"),
        ("def gram_matrix(A):\n    return A @ A.T + 1\n", "the right shape with wrong values"),
        ("def gram_matrix(A):\n    return A @ A\n", "it raised ValueError"),
        ("gram_matrix = None\n", "does not define this function"),
        (LAYER.format("(n_C**2 * (n_H * n_W) ** 2)"), "the factor 4 is missing"),
        (LAYER.format("(4 * n_C**2 * n_H * n_W)"), r"needs \(n_H \* n_W\) squared"),
        (LAYER.format("(4 * n_C * (n_H * n_W) ** 2)"), "it needs n_C squared"),
        (LAYER.replace(".reshape(n_H * n_W, n_C).T", ".reshape(n_C, n_H * n_W)").format(3600 * 4), "it mixes the channels"),
        (STYLE.format("1"), "it ignores the weights"),
        (STYLE.format("0.2"), "it uses 0.2 for each layer"),
        (STYLE.replace("zip(S, G", "zip(S[1:], G[1:]").format("weight"), "it skips the first layer"),
        (
            "def total_cost(J_content, J_style, alpha=10, beta=40):\n    return beta * J_content + alpha * J_style\n",
            "swapped",
        ),
        (
            "def total_cost(J_content, J_style, alpha=10, beta=40):\n    return 10 * J_content + 40 * J_style\n",
            "always uses 10",
        ),
        ("def total_cost(J_content, J_style, alpha=10, beta=40):\n    return 11 * J_content\n", "the right value is 140"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, code: str, sentence: str) -> None:
    found = problems(tmp_path, code)
    assert found
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError("\n".join(found))


def test_files_that_cannot_be_graded_are_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match="is not a file"):
        grade(tmp_path / "nothing.py")
    with pytest.raises(OptionError, match="does not run: ZeroDivisionError"):
        problems(tmp_path, "1 / 0\n")
    assert main([]) == 2
    assert main([str(tmp_path / "nothing.py")]) == 2
    assert "give one file" in capsys.readouterr().out


def test_the_exit_code_says_whether_all_checks_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(RIGHT, encoding="utf-8")
    assert main([str(path)]) == 0
    path.write_text(RIGHT + "def gram_matrix(A):\n    return A\n", encoding="utf-8")
    assert main([str(path)]) == 1
    assert "of 8 checks pass" in capsys.readouterr().out
