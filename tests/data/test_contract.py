"""What every data set of the registry must do, shown on a miniature in its real layout."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from terraseek.data import DATASETS, check_dataset, hash_splits, load_dataset, write_splits
from terraseek.errors import ConfigError, DatasetError, NotFoundError

Make = Callable[[str], Path]
every = pytest.mark.parametrize("name", DATASETS.names)


def test_every_data_set_has_a_miniature(miniature_names: set[str]) -> None:
    assert set(DATASETS.names) == miniature_names


@every
def test_samples_labels_and_splits_agree(name: str, miniature: Make) -> None:
    dataset = load_dataset(name, miniature(name))
    assert len(dataset) == len(dataset.samples) > 0
    assert list(dataset.ids) == sorted(set(dataset.ids))
    assert dataset.labels_NC.shape == (len(dataset), len(dataset.label_names))
    assert dataset.labels_NC.dtype == np.uint8
    for sample, row_C in zip(dataset.samples, dataset.labels_NC, strict=True):
        assert sample.path.exists()
        assert sample.labels or sample.captions
        assert {dataset.label_names[c] for c in np.flatnonzero(row_C)} == set(sample.labels)
    assert {"train", "test"} <= set(dataset.splits)
    assert sum(dataset.splits.values()) == len(dataset)
    assert dataset.split_hash == hash_splits((s.id, s.split) for s in dataset.samples)
    assert not dataset.problems


@every
def test_loading_twice_gives_the_same(name: str, miniature: Make) -> None:
    root = miniature(name)
    assert load_dataset(name, root).samples == load_dataset(name, root).samples


@every
def test_ids_do_not_depend_on_where_the_data_lie(name: str, miniature: Make, tmp_path: Path) -> None:
    root = miniature(name)
    first = load_dataset(name, root)
    moved = tmp_path / "elsewhere" / "deep"
    shutil.copytree(root, moved)
    second = load_dataset(name, moved)
    assert first.ids == second.ids
    assert first.split_hash == second.split_hash


@every
def test_split_files_that_do_not_fit_are_refused_or_noted(name: str, miniature: Make, tmp_path: Path) -> None:
    root = miniature(name)
    ids = load_dataset(name, root).ids
    file, folder = tmp_path / "mine.tsv", tmp_path / "empty"
    write_splits(file, {ids[0]: "test", ids[1] + "x": "test"})
    dataset = load_dataset(name, root, splits=file)
    assert dataset.splits == {"test": 1}
    outside, absent = dataset.notes[-2:]
    assert outside.startswith(f"{len(ids) - 1} images are in no split, the first is ")
    assert absent.startswith("the split files name 1 images that are not here, the first is ")
    folder.mkdir()
    with pytest.raises(DatasetError, match=r"empty: no split files for this data set; expected .*\*_train\.csv"):
        load_dataset(name, root, splits=folder)


@every
def test_split_lists_without_a_header_are_refused(name: str, miniature: Make, tmp_path: Path) -> None:
    root = miniature(name)
    ids = load_dataset(name, root).ids
    folder = tmp_path / "bare"
    folder.mkdir()
    for begin in {*DATASETS.names, "ucmerced"}:
        (folder / f"{begin}_train.csv").write_text("\n".join(ids))
    with pytest.raises(DatasetError, match=r"_train\.csv:1: '.*' is an image; the first line must be a header"):
        load_dataset(name, root, splits=folder)


LABEL_FOLDERS = {"ucmerced-ml", "dlrsd", "ml-aid", "whdld", "mlrsnet"}  # as the docstring of load_dataset says


@every
def test_a_folder_of_splits_beside_the_data_counts_for_label_sets_alone(name: str, miniature: Make) -> None:
    root = miniature(name)
    shutil.rmtree(root / "splits", ignore_errors=True)
    before = load_dataset(name, root)
    folder = root / "splits"
    folder.mkdir()
    for begin in {*DATASETS.names, "ucmerced"}:  # with what the split files of some set begin
        for split, samples in (("train", before.samples[:-1]), ("val", before.samples[-1:])):
            (folder / f"{begin}_{split}.csv").write_text("\n".join(["image", *(sample.id for sample in samples)]))
    mine = {"train": len(before) - 1, "val": 1}
    if name in LABEL_FOLDERS:
        assert load_dataset(name, root).splits == mine
    else:
        assert load_dataset(name, root).split_hash == before.split_hash
    named = load_dataset(name, root, splits=folder)
    assert named.splits == mine
    assert not any("split" in note for note in named.notes)


@every
def test_every_image_can_be_read(name: str, miniature: Make) -> None:
    dataset = load_dataset(name, miniature(name))
    for i in range(len(dataset)):
        assert dataset.read(i).ndim == 3
    assert pickle.loads(pickle.dumps(dataset)).read(0).shape == dataset.read(0).shape


@every
def test_a_missing_image_is_listed_and_everything_else_loaded(name: str, miniature: Make) -> None:
    root = miniature(name)
    before = load_dataset(name, root)
    gone = before.samples[3]
    if gone.path.is_dir():
        shutil.rmtree(gone.path)
    else:
        gone.path.unlink()
    after = load_dataset(name, root)
    assert set(before.ids) - set(after.ids) == {gone.id}
    assert len(after.problems) == 1
    assert gone.path.stem in str(after.problems[0])


@every
def test_a_wrong_root_says_what_is_missing_where_it_comes_from_and_its_terms(name: str, tmp_path: Path) -> None:
    origin = DATASETS[name].origin
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError) as caught:
            load_dataset(name, root)
        message = str(caught.value)
        assert "\n" not in message
        for part in (origin.title, origin.layout, origin.home, origin.terms, str(root)):
            assert part in message


@every
def test_the_report_is_json_with_the_documented_keys(name: str, miniature: Make) -> None:
    root = miniature(name)
    seen: list[tuple[int, int]] = []
    report = check_dataset(name, root, decode=True, progress=lambda done, total: seen.append((done, total)))
    tree = json.loads(json.dumps(report.to_json()))
    dataset = load_dataset(name, root)
    assert tree["schema"] == 1
    assert tree["dataset"] == name
    assert tree["images"] == len(dataset)
    assert tree["splits"] == dataset.splits
    assert tree["labels"] == len(dataset.label_names)
    assert tree["captions"] == sum(len(s.captions) for s in dataset.samples)
    assert tree["problems"] == []
    assert seen[-1] == (len(dataset), len(dataset))
    for label, per_split in tree["label_counts"].items():
        for split, count in per_split.items():
            assert count == sum(label in s.labels for s in dataset.samples if s.split == split)


@every
def test_decoding_finds_the_damaged_image(name: str, miniature: Make) -> None:
    root = miniature(name)
    path = load_dataset(name, root).samples[1].path
    file = sorted(path.glob("*.tif"))[0] if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:60])
    problems = check_dataset(name, root, decode=True).problems
    assert len(problems) == 1
    assert path.stem in problems[0].source


@every
def test_unknown_options_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'colour'"):
        load_dataset(name, tmp_path, colour="red")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'ucmerced-ml'"):
        load_dataset("ucmerced", tmp_path)


def test_subsets_keep_the_hash_and_refuse_unknown_splits(miniature: Make) -> None:
    dataset = load_dataset("ucmerced-ml", miniature("ucmerced-ml"))
    train = dataset.subset("train")
    assert train.split_hash == dataset.split_hash
    assert {s.split for s in train.samples} == {"train"}
    assert train.labels_NC.shape[0] == dataset.splits["train"]
    with pytest.raises(ConfigError, match="no split 'validation'"):
        dataset.subset("validation")


def test_splits_may_be_taken_together(miniature: Make) -> None:
    dataset = load_dataset("ucmerced-ml", miniature("ucmerced-ml"))
    both = dataset.subset("train+val")
    assert set(both.ids) == set(dataset.subset("train").ids) | set(dataset.subset("val").ids)
    assert both.ids == tuple(sorted(both.ids))
    with pytest.raises(ConfigError, match="no split 'vla': did you mean 'val'"):
        dataset.subset("train+vla")
