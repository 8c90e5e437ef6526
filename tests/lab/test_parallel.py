"""Training in several processes: the mean of their gradients, one file, and the same weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mannequin.lab.training.loop import Schedule, Trainer
from mannequin.lab.training.parallel import launch, rank


def _train(folder: str) -> None:
    """Three steps towards what the generators draw; every process writes what it ends with."""
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    unused = nn.Linear(1, 1)
    modules = {"net": net, "unused": unused}
    schedule = Schedule(3, rate=0.1, warmup=1, decay=0.1)
    trainer = Trainer(modules, schedule, Path(folder) / "it.safetensors", seed=1)
    drawn = []

    def loss(step, g):
        x = torch.randn(4, 2, generator=g)
        drawn.append(x.clone())
        return {"total": net(x).square().mean()}

    trainer.run(loss)
    state = {"weight": net.weight.detach(), "drawn": torch.stack(drawn)}
    torch.save(state, Path(folder) / f"{rank()}.pt")


def test_two_processes_end_with_the_same_weights_and_saw_different_things(tmp_path):
    launch(2, _train, str(tmp_path))
    first, second = (torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in range(2))
    assert torch.equal(first["weight"], second["weight"])
    assert not torch.equal(first["drawn"], second["drawn"])
    assert (tmp_path / "it.safetensors").is_file()


def test_one_process_is_the_plain_training(tmp_path):
    launch(1, _train, str(tmp_path))
    alone = torch.load(tmp_path / "0.pt", weights_only=True)
    (tmp_path / "two").mkdir()
    launch(2, _train, str(tmp_path / "two"))
    both = torch.load(tmp_path / "two" / "0.pt", weights_only=True)
    assert torch.equal(alone["drawn"], both["drawn"])
    assert not torch.equal(alone["weight"], both["weight"])


def test_no_process_is_an_error():
    with pytest.raises(ValueError, match="at least one process, got 0"):
        launch(0, _train)
