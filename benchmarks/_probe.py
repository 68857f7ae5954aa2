"""Setting (a): an MLP head trained on frozen features, a few seconds a run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from _study import BEFORE, MEASURES, Setting, Store, options_of, summary
from terraseek.data import hash_splits
from terraseek.losses import EmbeddingQueue, LabelStatistics, build_loss
from terraseek.metrics import EmbeddingSet, evaluate_retrieval
from terraseek.training import SamplerConfig, build_sampler

# UC Merced's 1,285 training samples would leave a last batch of 5, whose noise costs every loss about a point: a last
# batch below `least` is left out.
SCHEDULE: dict[str, Any] = {
    "epochs": 60,
    "batch": 128,
    "least": 64,
    "lr": 1e-3,
    "weight_decay": 0.01,
    "hidden": 512,
    "dim": 128,
}


@dataclass(frozen=True)
class Features:
    """One data set: per split (N, 1280) features and (N, C) labels.

    Attributes:
        split_hash: as the data set's loader computes it, so that equal splits are seen to be equal.
        digest: of the features themselves.
    """

    name: str
    parts: dict[str, tuple[Tensor, Tensor]]
    label_names: tuple[str, ...]
    split_hash: str
    digest: str

    @property
    def frequency(self) -> list[float]:
        """Share of the training images that carry each label."""
        return self.parts["train"][1].float().mean(0).tolist()  # type: ignore[no-any-return]


def load_features(root: Path, name: str) -> Features:
    """Read `root`/features/`name`.npz."""
    with np.load(root / "features" / f"{name}.npz", allow_pickle=False) as file:
        features, labels, split, names = (file[key] for key in ("features", "labels", "split", "names"))
        label_names = tuple(file["label_names"].tolist())
    parts = {
        part: (torch.from_numpy(features[split == part].astype(np.float32)), torch.from_numpy(labels[split == part]))
        for part in ("train", "val", "test")
    }
    ids = (str(Path(image).with_suffix("")) for image in names.tolist())
    return Features(
        name=name,
        parts=parts,
        label_names=label_names,
        split_hash=hash_splits(zip(ids, split.tolist(), strict=True)),
        digest=hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest()[:16],
    )


def config_of(data: Features, setting: Setting, seed: int, split: str) -> dict[str, Any]:
    """All that the outcome depends on, defaults resolved."""
    frozen = setting.loss == "frozen"
    options = {} if frozen else options_of(setting.loss, setting.options)
    if setting.loss == "sndl" and "memory" not in setting.options:
        options["memory"] = len(data.parts["train"][1])  # one slot per training sample, as published
    return {
        "setting": "frozen features",
        "dataset": data.name,
        "splits": data.split_hash[:16],
        "features": data.digest,
        "split": split,
        "loss": setting.loss,
        "options": options,
        "schedule": {} if frozen else {**SCHEDULE, **setting.schedule},
        "queue": setting.queue,
        "sampler": dict(setting.sampler),
        "seed": 0 if frozen else seed,
    }


def finish(store: Store, data: Features, setting: Setting, seed: int, split: str) -> dict[str, Any]:
    """The kept outcome of this run; runs it where there is none."""
    config = config_of(data, setting, seed, split)
    note = f"{data.name:12} {split:5} {setting.name:26} {setting.described()} seed {seed}"
    return store.finish(config, partial(_timed, data, config), note)


def _timed(data: Features, config: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    outcome = train_and_score(data, config)
    return {**outcome, "seconds": round(time.perf_counter() - start), "torch": torch.__version__}


def train_and_score(data: Features, config: dict[str, Any]) -> dict[str, Any]:
    """Train a head as `config` says and score it; the gallery is the training split."""
    split, seed, schedule = config["split"], config["seed"], config["schedule"]
    if config["loss"] == "frozen":
        return score(data.parts[split], data.parts["train"])
    torch.manual_seed(seed)
    features, labels = data.parts["train"]
    dim = schedule["dim"]
    head = nn.Sequential(
        nn.Linear(features.shape[1], schedule["hidden"]), nn.ReLU(), nn.Linear(schedule["hidden"], dim)
    )
    options = {**BEFORE.get(config["loss"], {}), **config["options"]}
    loss = build_loss(config["loss"], LabelStatistics.from_labels(labels), dim, **options)
    parameters = [*head.parameters(), *loss.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=schedule["lr"], weight_decay=schedule["weight_decay"], fused=True)
    queue = EmbeddingQueue(config["queue"], dim, labels.shape[1]) if config["queue"] else None
    for ids in batches(labels, schedule, config["sampler"], seed):
        value = loss_of_batch(loss, head(features[ids]), labels[ids], ids, queue)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        query, query_labels = data.parts[split]
        return score((head(query), query_labels), (head(features), labels))


def batches(labels: Tensor, schedule: dict[str, Any], sampler: dict[str, Any], seed: int) -> Iterator[Tensor]:
    """Shuffled batches, or those of a sampler: as many steps in either case."""
    count, size = len(labels), schedule["batch"]
    per_epoch = count // size + (count % size >= schedule["least"])
    steps = schedule["epochs"] * per_epoch
    if not sampler:
        order = torch.Generator().manual_seed(seed)
        for _ in range(schedule["epochs"]):
            yield from torch.randperm(count, generator=order).split(size)[:per_epoch]
        return
    drawn = build_sampler(SamplerConfig(batch_size=size, **sampler), labels.numpy(), seed=seed)
    while steps:
        for batch in list(drawn)[:steps]:
            yield torch.tensor(batch)
            steps -= 1
        drawn.set_epoch(drawn.epoch + 1)


def loss_of_batch(
    loss: nn.Module, embeddings: Tensor, labels: Tensor, ids: Tensor, queue: EmbeddingQueue | None
) -> Any:
    """The loss within a batch, or against batch and queue; a sample drawn twice is no partner of itself."""
    if queue is None and len(ids.unique()) == len(ids):
        return loss(embeddings, labels, ids=ids)
    if queue is None:
        return loss(embeddings, labels, embeddings, labels, ids=ids, ref_ids=ids)
    past = queue.view()
    references = torch.cat([embeddings, past.embeddings_MD]), torch.cat([labels.float(), past.labels_MC])
    value = loss(embeddings, labels, *references, ids=ids, ref_ids=torch.cat([ids, past.ids_M]))
    queue.push(embeddings, labels, ids)
    return value


def score(query: tuple[Tensor, Tensor], gallery: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """The measures in percent; frequencies come from the gallery, which is the training split."""
    sides = [
        EmbeddingSet(vectors.numpy(), labels.numpy(), tuple(f"{side}/{i}" for i in range(len(labels))))
        for side, (vectors, labels) in (("query", query), ("gallery", gallery))
    ]
    evaluation = evaluate_retrieval(*sides, MEASURES, bootstrap=0, threads=1)
    return summary({name: 100 * evaluation[name] for name in MEASURES}, [100 * label.ap for label in evaluation.labels])
