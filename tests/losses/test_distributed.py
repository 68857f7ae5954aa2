"""Two gloo processes against one: same loss, same gradient, odd batch sizes included."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from terraseek.errors import UsageError
from terraseek.losses import EmbeddingQueue, LabelStatistics, SupConLoss, build_loss, distributed_loss, gather_rows

NAMES = ("macl", "mul-supcon", "triplet", "proxy-anchor", "bce", "sndl")
SIZES = (5, 3)


def data() -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = (torch.rand(sum(SIZES), 4, generator=g) < 0.5).long()
    return torch.randn(sum(SIZES), 6, generator=g, dtype=torch.float64), labels, torch.arange(sum(SIZES))


def modules(name: str) -> nn.ModuleDict:
    torch.manual_seed(1)
    loss = build_loss(name, LabelStatistics.from_labels(data()[1]), 3).double()
    return nn.ModuleDict({"net": nn.Linear(6, 3).double(), "loss": loss})


class Step(nn.Module):
    """Network and loss in one module, so that DDP averages both."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.parts = modules(name)

    def forward(self, features: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
        return distributed_loss(self.parts["loss"], self.parts["net"](features), labels, ids=ids)  # type: ignore[arg-type]


def second_step(step: nn.Module, features: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    """The loss after a step on other features, which a memory, where the loss has one, then holds."""
    with torch.no_grad():
        step(features.flip(1), labels, ids)
    value: Tensor = step(features, labels, ids)
    return value


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def work(rank: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = slice(0, SIZES[0]) if rank == 0 else slice(SIZES[0], None)
    features, labels, ids = (part[own] for part in data())
    found: dict[str, Any] = {}
    for name in NAMES:
        step = nn.parallel.DistributedDataParallel(Step(name))
        value = second_step(step, features, labels, ids)
        value.backward()
        found[name] = (value.detach(), gradients(step))
    queue = EmbeddingQueue(6, 6, 4)
    queue.push(gather_rows(features), gather_rows(labels), gather_rows(ids))
    past = queue.view()
    found["queue"] = past.ids_M
    found["queued"] = distributed_loss(
        SupConLoss(), features, labels, past.embeddings_MD, past.labels_MC, ids=ids, ref_ids=past.ids_M, with_batch=True
    )
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("gloo")
    mp.start_processes(work, args=(str(folder),), nprocs=2, start_method="spawn")
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_equal_one(name: str, rank: int, found: list[dict[str, Any]]) -> None:
    single = Step(name)
    value = second_step(single, *data())
    value.backward()
    torch.testing.assert_close(found[rank][name][0], value.detach())
    for theirs, ours in zip(found[rank][name][1], gradients(single), strict=True):
        torch.testing.assert_close(theirs, ours)


def test_queues_stay_equal_on_all_ranks(found: list[dict[str, Any]]) -> None:
    assert found[0]["queue"].tolist() == found[1]["queue"].tolist() == [2, 3, 4, 5, 6, 7]


def test_batch_and_queue_are_joined_as_in_one_process(found: list[dict[str, Any]]) -> None:
    features, labels, ids = data()
    kept = slice(2, None)
    expected = SupConLoss()(
        features, labels, features[kept].float(), labels[kept], ids=ids, ref_ids=ids[kept], with_batch=True
    )
    for rank in (0, 1):
        torch.testing.assert_close(found[rank]["queued"], expected)


def test_class_indices_are_refused() -> None:
    with pytest.raises(UsageError, match="multi-hot"):
        distributed_loss(SupConLoss(), torch.eye(2), torch.tensor([0, 1]))
