from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraseek.data import ImageDataset, Sample, load_dataset
from terraseek.errors import ConfigError, CorruptError, DatasetError, NotFoundError, UsageError
from terraseek.training.knowledge import (
    Knowledge,
    align,
    construct,
    filtrate,
    initialise,
    mine_captions,
    mine_concepts,
)
from terraseek.training.stop_words import CONCEPT_STOP_WORDS, STOP_WORDS, VAGUE_WORDS

WORDS = ["port", "ships", "sea", "beach", "the", "a", "many", "near", "sand", "trees"]
CAPTIONS = st.dictionaries(
    st.sampled_from([f"image {i}" for i in range(8)]),
    st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), max_size=5),
    min_size=1,
)


def dataset(captions: Mapping[str, tuple[str, Sequence[str]]]) -> ImageDataset:
    """A data set of images with a split and captions each."""
    samples = [
        Sample(id=name, path=Path(name), split=split, captions=tuple(texts))
        for name, (split, texts) in captions.items()
    ]
    return ImageDataset.build(name="mini", root=Path(), samples=samples)


def mini(test: Sequence[str] = ("a swamp", "the swamp", "the swamp")) -> ImageDataset:
    return dataset(
        {
            "beach": ("train", ["A long beach.", "the Beach and the sea", "waves of the sea", "sand"]),
            "coast": ("train", ["the sea", "a sea beach", "a bird's nest", "a bird"]),
            "port": ("train", ["ships, ships", "many ships in a port", "the port"]),
            "square": ("train", []),
            "hill": ("val", ["a hill", "hill"]),
            "swamp": ("test", test),
            "marsh": ("test", test),
        }
    )


def test_the_words_of_captions_are_those_of_their_normal_form() -> None:
    words = initialise({"a": ["A  Bird's-nest , 2 ports.", " ", "…"], "b": []})
    assert words == {"a": [["a", "bird", "s", "nest", "2", "ports"]], "b": []}


def test_what_counts_is_how_many_captions_name_a_word() -> None:
    counts = construct(
        {"a": [["ships", "ships"], ["port"], ["port", "sea"], ["sea", "port"]], "b": [["x", "x"]], "c": []}
    )
    assert counts == {"a": {"port": 3, "sea": 2}, "b": {"x": 1}, "c": {}}


def test_concepts_are_the_words_of_most_images() -> None:
    counts = {"1": {"sea": 2, "a": 9, "the": 5}, "2": {"sea": 2, "port": 2, "the": 5}, "3": {"port": 2, "rare": 9}}
    assert filtrate(counts) == ("port", "sea")
    assert filtrate(counts, 1) == ("port",)
    assert filtrate(counts, least_images=1) == ("port", "sea", "rare")
    assert filtrate(counts, stop_words={"port"}) == ("sea", "the")


def test_concepts_name_what_can_be_looked_for() -> None:
    said = ["Two large planes and many cars are parked near several grey buildings with 3 red roofs, next to a runway"]
    said += ["a different piece of the area: 2 cars beside a runway, parked in the middle, with an L and the 4th mark"]
    knowledge = mine_captions({"a": said[:1], "b": said[1:]}, least_images=1)
    words = {"planes", "cars", "parked", "grey", "buildings", "red", "roofs", "runway", "mark"}
    assert set(knowledge.words) == words


def test_vague_words_are_no_function_words_and_are_lower_case() -> None:
    assert len(STOP_WORDS) == 153
    assert not VAGUE_WORDS & STOP_WORDS
    assert all(word.isalpha() and word.islower() for word in VAGUE_WORDS)


@pytest.mark.data
def test_ucm_captions_give_things_and_properties(terraseek_data: Path) -> None:
    words = mine_concepts(load_dataset("ucm-captions", terraseek_data)).words
    assert len(words) == 120
    assert words[:8] == ("plants", "cars", "roads", "houses", "residential", "white", "road", "green")
    vague = ["lots", "many", "area", "arranged", "neatly", "two", "lines", "beside", "piece", "go", "l", "number"]
    assert not set(words) & set(vague)


def test_scores_are_relative_to_the_most_named_concept_not_to_stop_words() -> None:
    counts = {"1": {"the": 5, "port": 4, "sea": 2}, "2": {"the": 5}, "3": {"sea": 3}}
    assert align(counts, ["sea", "port"]).tolist() == [[0.5, 1.0], [0.0, 0.0], [1.0, 0.0]]
    louder = {image: {**words, "the": 50} for image, words in counts.items()}
    assert np.array_equal(align(louder, ["sea", "port"]), align(counts, ["sea", "port"]))


@settings(max_examples=50, deadline=None)
@given(CAPTIONS, st.integers(1, 5), st.integers(1, 3), st.randoms(use_true_random=False))
def test_mining_equals_plain_loops_in_any_order_of_the_images(captions, size, least, random) -> None:
    found: dict[str, dict[str, int]] = {}
    for image, texts in captions.items():
        said = [text.split() for text in texts if text]
        for word in WORDS:
            named = sum(word in each for each in said)
            if named >= min(2, len(said)) and named and word not in CONCEPT_STOP_WORDS:
                found.setdefault(image, {})[word] = named
    having = {word: sum(word in words for words in found.values()) for word in WORDS}
    words = sorted((w for w in WORDS if having[w] >= least), key=lambda w: (-having[w], w))[:size]
    shuffled = dict(random.sample(list(captions.items()), len(captions)))
    if not words:
        with pytest.raises(DatasetError, match="became a concept" if any(captions.values()) else "has captions"):
            mine_captions(shuffled, size=size, least_images=least)
        return
    knowledge = mine_captions(shuffled, size=size, least_images=least)
    assert knowledge.words == tuple(words)
    for image in captions:
        counts = [found.get(image, {}).get(word, 0) for word in words]
        assert knowledge.targets([image])[0] == pytest.approx([count / max(*counts, 1) for count in counts])
    assert knowledge.frequency_C == pytest.approx([having[word] / len(captions) for word in words])


def test_a_data_set_gives_the_concepts_of_its_training_split() -> None:
    knowledge = mine_concepts(mini(), least_images=1)
    assert knowledge.ids == ("beach", "coast", "port", "square")
    assert knowledge.words == ("sea", "beach", "bird", "port", "ships")
    assert knowledge.targets(["port", "beach"]).tolist() == [[0, 0, 0, 1, 1], [1, 1, 0, 0, 0]]
    assert not knowledge.targets(["square"]).any()
    assert mine_concepts(mini(), split="val", least_images=1).words == ("hill",)


def test_no_caption_of_val_or_test_is_read() -> None:
    known = mine_concepts(mini(), least_images=1)
    for test in ([], ["sea sea", "the sea and ships"], ["something else", "something else"]):
        other = mine_concepts(mini(test), least_images=1)
        assert (other.words, other.ids) == (known.words, known.ids)
        assert np.array_equal(other.scores_NC, known.scores_NC)


def test_rarity_is_the_project_s_own() -> None:
    scores_NC = np.array([[1, 0.5, 0], [1, 0, 0], [0.2, 0.1, 1], [1, 0, 0]], np.float32)
    knowledge = Knowledge(("a", "b", "c"), ("1", "2", "3", "4"), scores_NC)
    assert knowledge.frequency_C.tolist() == [1, 0.5, 0.25]
    assert knowledge.rarity().tolist() == [0.5, 1, 2]


@settings(max_examples=50, deadline=None)
@given(CAPTIONS)
def test_saved_knowledge_is_read_back_without_loss(tmp_path_factory: pytest.TempPathFactory, captions) -> None:
    path = tmp_path_factory.mktemp("knowledge") / "concepts.json"
    try:
        knowledge = mine_captions(captions, least_images=1)
    except DatasetError:
        return
    knowledge.save(path)
    again = Knowledge.load(path)
    assert (again.words, again.ids, again.mode) == (knowledge.words, knowledge.ids, knowledge.mode)
    assert np.array_equal(again.scores_NC, knowledge.scores_NC)
    assert [file.name for file in path.parent.iterdir()] == ["concepts.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: "[]",
        lambda tree: json.dumps(tree)[:-5],
        lambda tree: json.dumps({**tree, "format_version": 2}),
        lambda tree: json.dumps({**tree, "images": {"a": {"nothing": 1}}}),
        lambda tree: json.dumps({**tree, "images": {"a": {"port": 2}}}),
        lambda tree: json.dumps({**tree, "mode": "other"}),
        lambda tree: json.dumps({**tree, "words": ["port", "port"]}),
        lambda tree: json.dumps({key: value for key, value in tree.items() if key != "words"}),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage) -> None:
    path = tmp_path / "concepts.json"
    mine_captions({"a": ["port", "port"], "b": ["port"]}).save(path)
    path.write_text(damage(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(CorruptError, match=r"concepts\.json: no concept file of format 1"):
        Knowledge.load(path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no concept file"):
        Knowledge.load(tmp_path / "none.json")


def test_what_cannot_be_is_refused_in_one_line() -> None:
    knowledge = mine_captions({"a": ["port", "port"], "b": ["port"]})
    with pytest.raises(UsageError, match="1 of 2 images, among them 'c'"):
        knowledge.targets(["a", "c"])
    with pytest.raises(UsageError, match="unknown variant 'publish': did you mean 'published'"):
        knowledge.targets(["a"], variant="publish")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="name each once"):
        knowledge.targets(["a", "b", "a"], variant="published")
    with pytest.raises(UsageError, match="repeat 'a'"):
        Knowledge(("port",), ("a", "a"), np.zeros((2, 1), np.float32))
    with pytest.raises(UsageError, match="1 ids and 1 words, but scores"):
        dataclasses.replace(knowledge, ids=("a",))
    with pytest.raises(ConfigError, match="size is 0"):
        mine_captions({"a": ["port"]}, size=0)
    with pytest.raises(ConfigError, match="least_images is 0"):
        mine_captions({"a": ["port"]}, least_images=0)
    with pytest.raises(ConfigError, match="unknown mode 'publish': did you mean 'published'"):
        mine_captions({"a": ["port"]}, mode="publish")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no split 'training'"):
        mine_concepts(mini(), split="training")
    with pytest.raises(DatasetError, match="none of 2 images has captions"):
        mine_captions({"a": [], "b": []})
    with pytest.raises(DatasetError, match="no word of the 3 captions of 2 images became a concept"):
        mine_captions({"a": ["", "a port"], "b": ["the sea"]})


def test_scores_cannot_be_changed_through_knowledge() -> None:
    knowledge = mine_captions({"a": ["port", "port"], "b": ["port"]})
    knowledge.targets(["a"])[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        knowledge.scores_NC[0, 0] = 0
    assert knowledge.targets(["a"]).tolist() == [[1]]
