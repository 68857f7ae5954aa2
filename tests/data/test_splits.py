from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.data import draw_splits, hash_splits, read_splits, write_splits
from terraseek.data.folders import image_key
from terraseek.data.splits import split_notes
from terraseek.errors import ConfigError, DatasetError, NotFoundError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 120), st.integers(1, 8))
def test_draw_is_seeded_and_complete(seed: int, rows: int, labels: int) -> None:
    labels_NC = (np.random.default_rng(seed).random((rows, labels)) < 0.3).astype(np.uint8)
    drawn = draw_splits(labels_NC, seed=seed)
    assert drawn == draw_splits(labels_NC, seed=seed)
    assert len(drawn) == rows
    assert set(drawn) <= {"train", "val", "test"}


def test_draw_spreads_even_rare_labels() -> None:
    rng = np.random.default_rng(3)
    labels_NC = (rng.random((1000, 6)) < [0.6, 0.3, 0.1, 0.05, 0.02, 0.01]).astype(np.uint8)
    labels_NC[:5, 5] = 1
    split = np.array(draw_splits(labels_NC, seed=1))
    for name, fraction in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        held = labels_NC[split == name].sum(0)
        wanted = fraction * labels_NC.sum(0)
        assert (np.abs(held - wanted) <= np.maximum(2, 0.1 * wanted)).all()
    # A plain random draw misses by far more for the same labels.
    plain = rng.permutation(split)
    error = [np.abs(labels_NC[s == "test"].mean(0) - labels_NC.mean(0)).sum() for s in (split, plain)]
    assert error[0] < error[1]


def test_different_seeds_differ() -> None:
    labels_NC = np.ones((50, 1), np.uint8)
    assert draw_splits(labels_NC, seed=0) != draw_splits(labels_NC, seed=1)


@pytest.mark.parametrize("fractions", [{"train": 0.5, "test": 0.6}, {"train": 1.0, "test": 0.0}])
def test_fractions_must_add_up(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        draw_splits(np.ones((4, 1), np.uint8), fractions=fractions)


def test_file_round_trip(tmp_path: Path) -> None:
    assignment = {"beach/beach00": "train", "beach/beach01": "test"}
    write_splits(tmp_path / "s.tsv", assignment)
    assert read_splits(tmp_path / "s.tsv", ()) == assignment


def test_folder_takes_only_the_files_of_the_data_set(tmp_path: Path) -> None:
    for name, key in (("ucmerced_train.csv", "a"), ("ucmercedmultilabel_test.csv", "b"), ("aid_train.csv", "c")):
        (tmp_path / name).write_text(f"image\tsea\n{key}\t1\n")
    assert read_splits(tmp_path, ("ucmerced",)) == {"a": "train", "b": "test"}
    assert read_splits(tmp_path, ("whdld",)) is None


def test_the_first_prefix_that_has_files_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "ucmerced_train.csv").write_text("image\na\nb\n")
    assert read_splits(tmp_path, ("dlrsd", "ucmerced")) == {"a": "train", "b": "train"}
    (tmp_path / "dlrsd_test.csv").write_text("image\na\n")
    assert read_splits(tmp_path, ("dlrsd", "ucmerced")) == {"a": "test"}
    assert read_splits(tmp_path, ("ucmerced", "dlrsd")) == {"a": "train", "b": "train"}


def test_two_spellings_are_one_image_where_the_key_says_so(tmp_path: Path) -> None:
    (tmp_path / "x_train.csv").write_text("image\na.tif\n")
    (tmp_path / "x_val.csv").write_text("image\nb\na\n")
    assert read_splits(tmp_path, ("x",)) == {"a.tif": "train", "b": "val", "a": "val"}
    with pytest.raises(DatasetError, match=r"x_val\.csv:3: 'a' is in val and in train"):
        read_splits(tmp_path, ("x",), key=image_key)
    (tmp_path / "s.csv").write_text("id,split\nscene/a.tif,val\na,test\n")
    with pytest.raises(DatasetError, match=r"s\.csv:3: 'a' is in test and in val"):
        read_splits(tmp_path / "s.csv", (), key=image_key)


@pytest.mark.parametrize("first", ["beach00", "beach/beach00.tif", "gone.tif", "gone\t0\t1\t0"])
def test_a_list_without_a_header_is_refused(tmp_path: Path, first: str) -> None:
    (tmp_path / "x_train.csv").write_text(f"\n{first}\nbeach01\n")
    with pytest.raises(DatasetError, match=r"x_train\.csv:2: '.*' is an image; the first line must be a header"):
        read_splits(tmp_path, ("x",), key=image_key, images={"beach00", "beach01"})


@pytest.mark.parametrize(
    "header", ["image", "IMAGE\\LABEL\tsea\tsand", "filename", "beach", "0", "0\t1", "\t0", "image1", "b.y"]
)
def test_a_header_of_any_words_is_one(tmp_path: Path, header: str) -> None:
    cells = "\t1" * header.count("\t")
    (tmp_path / "x_train.csv").write_text(f"{header}\nbeach01{cells}\n")
    assert read_splits(tmp_path, ("x",), key=image_key, images={"beach00", "beach01"}) == {"beach01": "train"}


def test_splits_that_differ_in_case_are_noted() -> None:
    notes = split_notes({"a": "train", "b": "Train", "c": "test", "d": "train"}, "abcd")
    assert notes == ["the splits 'Train' and 'train' differ only in case, they are not one split"]


def test_contradictions_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "x_train.csv").write_text("image\na\nb\n")
    (tmp_path / "x_val.csv").write_text("image\nb\n")
    with pytest.raises(DatasetError, match=r"x_val\.csv:2: 'b' is in val and in train"):
        read_splits(tmp_path, ("x",))
    (tmp_path / "s.csv").write_text("name,split\na,train\n")
    with pytest.raises(DatasetError, match="columns 'id' and 'split'"):
        read_splits(tmp_path / "s.csv", ())
    with pytest.raises(NotFoundError):
        read_splits(tmp_path / "absent", ())


def test_hash_sees_every_change() -> None:
    base = hash_splits([("a", "train"), ("b", "test")])
    assert base != hash_splits([("a", "test"), ("b", "train")])
    assert base != hash_splits([("a", "train")])
    assert base != hash_splits([("a", "train"), ("b", None)])
