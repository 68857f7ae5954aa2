from __future__ import annotations

from pathlib import Path

import pytest

from terraseek.data import load_dataset
from terraseek.data.caption_files import CaptionedFile
from terraseek.data.validation_images import draw_validation, find_own_validation
from terraseek.errors import ConfigError, DatasetError

TRAIN = ("airport_1.jpg", "port_1.jpg", "00001.jpg", "00003.jpg")
VAL = ("airport_2.jpg", "00002.jpg")


def entries(names: tuple[str, ...], split: str = "train") -> list[CaptionedFile]:
    return [CaptionedFile(filename=name, split=split, captions=("a port",), where=name) for name in names]


def test_the_last_of_train_are_val_where_the_alphabet_begins_anew() -> None:
    files = [*entries(TRAIN), *entries(VAL), *entries(("port_9.jpg",), "test")]
    found = find_own_validation(files, len(TRAIN), len(VAL))
    assert [entry.split for entry in found] == ["train"] * 4 + ["val"] * 2 + ["test"]
    assert [entry.filename for entry in found] == [entry.filename for entry in files]


def test_files_that_name_val_keep_it() -> None:
    files = [*entries(TRAIN), *entries(VAL, "val")]
    assert find_own_validation(files, 1, 1) == files


@pytest.mark.parametrize("names", [TRAIN + VAL[:1], VAL + TRAIN, tuple(sorted(TRAIN + VAL))])
def test_files_that_lack_images_or_have_another_order_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match=f"as distributed.*have {len(names)} there.*leave out val=own"):
        find_own_validation(entries(names), len(TRAIN), len(VAL))


def test_only_a_share_can_be_drawn() -> None:
    with pytest.raises(ConfigError, match="val is 'own', it must be a share"):
        draw_validation(entries(TRAIN), "own", 0)


@pytest.mark.data
def test_rsicd_10k_has_as_many_images_of_its_own_val_as_of_test(terraseek_data: Path) -> None:
    dataset = load_dataset("rsicd-10k", terraseek_data, val="own")
    assert dataset.splits == {"train": 7946, "val": 1027, "test": 1027}
    drawn = load_dataset("rsicd-10k", terraseek_data)
    assert dataset.subset("test").ids == drawn.subset("test").ids
    # Half of the training images have one sentence five times, few of val and test.
    sentences = {
        split: sum(len(set(sample.captions)) for sample in dataset.subset(split).samples) / size
        for split, size in dataset.splits.items()
    }
    assert sentences == pytest.approx({"train": 1.80, "val": 2.54, "test": 3.27}, abs=0.01)
