"""Distillation of the slim encoder: a run that was interrupted continues as if it had not been."""

from pathlib import Path

import pytest
import torch

from impasto.encoders.vgg import Vgg
from impasto.training.encoder import Distillation


def distillation(seed: int) -> Distillation:
    random = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251  (initialization has no generator)
        student, teacher = Vgg((2, 2, 4, 4, 4), with_heads=True), Vgg()
    corpus = {
        kind: [torch.randint(0, 255, (3, 48, 48), generator=random, dtype=torch.uint8) for _ in range(2)]
        for kind in ("photo", "painting", "texture")
    }
    return Distillation(student, teacher, corpus, total_steps=3, edge_px=32, seed=seed)


@pytest.mark.slow
def test_a_distillation_that_is_resumed_gives_the_numbers_of_one_that_was_not_interrupted(tmp_path: Path) -> None:
    whole, again = distillation(seed=0), distillation(seed=99)
    next(whole.steps())
    whole.save(tmp_path / "state.pt")
    again.resume(tmp_path / "state.pt")
    assert again.number == 1
    rest = [(step.number, step.learning_rate, step.errors) for step in whole.steps()]
    assert [(step.number, step.learning_rate, step.errors) for step in again.steps()] == rest
    assert all(torch.equal(value, again.averaged[name]) for name, value in whole.averaged.items())
    assert [each.name for each in tmp_path.iterdir()] == ["state.pt"]
