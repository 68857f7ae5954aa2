from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terraseek.archive import Archive, Filter, Record, View
from terraseek.errors import ImageError, ModelMismatchError, NotFoundError, QueryError, UsageError
from terraseek.search import Query, Retriever, logistic_direction, rocchio_direction

RED, GREEN, BLUE = np.eye(3)


def picture(colour) -> np.ndarray:
    return (np.broadcast_to(np.asarray(colour), (4, 4, 3)) * 255).astype(np.uint8)


def walk(retriever: Retriever, query: Query) -> list:
    """All hits of all pages."""
    import dataclasses

    hits, page = [], retriever.search(query)
    while True:
        hits.extend(page.hits)
        if page.next is None:
            return hits
        page = retriever.search(dataclasses.replace(query, after=page.next))


def test_by_image_array_and_by_path(archive, encoder, tmp_path) -> None:
    retriever = Retriever(archive, encoder)
    page = retriever.search(Query(image=picture(RED), k=3))
    assert page.ids == ("p00", "p01", "p02")
    assert (page.matched, page.hits[0].score, page.hits[0].rank) == (24, 1.0, 1)
    Image.fromarray(picture(RED)).save(tmp_path / "red.png")
    assert retriever.search(Query(image=tmp_path / "red.png", k=3)).ids == page.ids
    with pytest.raises(ImageError, match=r"missing\.png"):
        retriever.search(Query(image=str(tmp_path / "missing.png")))


def test_by_text_and_by_mixture(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    assert retriever.search(Query(text="blue", k=1)).ids == ("p23",)
    mixed = retriever.search(Query(text="green", image=picture(RED), k=1))
    assert mixed.ids == ("p06",)  # halfway between red (p00) and green (p11, p12)
    heavier = retriever.search(Query(text="green", image=picture(RED), weights={"text": 4.0}, k=1))
    assert "p06" < heavier.ids[0] <= "p11"
    away = retriever.search(Query(text="green", image=picture(RED), weights={"image": -1.0}, k=24))
    assert away.ids[-1] == "p00"


def test_several_examples_of_one_side_count_as_one(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    one = retriever.vectors(Query(text="green", image=picture(RED)))
    two = retriever.vectors(Query(text="green", image=[picture(RED), picture(RED)]))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_record_never_finds_itself(archive) -> None:
    retriever = Retriever(archive)
    page = retriever.search(Query(like="p05", k=24))
    assert page.matched == 23
    assert "p05" not in page.ids
    assert set(page.ids[:2]) == {"p04", "p06"}
    both = retriever.search(Query(like=("p00", "p02"), not_like="p23", k=24))
    assert both.matched == 21
    assert both.ids[0] == "p01"
    assert {"p00", "p02", "p23"}.isdisjoint(both.ids)


def test_negatives_push_away(archive) -> None:
    retriever = Retriever(archive)
    plain = retriever.search(Query(like="p11", k=22)).ids
    pushed = retriever.search(Query(like="p11", not_like="p00", k=22)).ids
    assert plain.index("p08") < pushed.index("p08")


def test_marks_move_the_search_by_the_measured_formulas(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    confirmed, rejected = ("p08", "p10"), ("p00", "p02", "p04")
    right, wrong = archive.vectors(confirmed), archive.vectors(rejected)
    [asked] = encoder.encode_images([picture((1, 1, 0))])
    marks = {"like": confirmed, "not_like": rejected}
    for name, direction in (("rocchio", rocchio_direction), ("logistic", logistic_direction)):
        moved = retriever.vectors(Query(image=picture((1, 1, 0)), feedback=name, **marks))
        np.testing.assert_allclose(moved[0], direction(asked, right, wrong), atol=1e-6)
        mean = right.mean(axis=0) / np.linalg.norm(right.mean(axis=0))
        alone = retriever.vectors(Query(feedback=name, **marks))
        np.testing.assert_allclose(alone[0], direction(mean, right, wrong), atol=1e-6)
        page = retriever.search(Query(image=picture((1, 1, 0)), feedback=name, **marks))
        assert page.matched == 24 - 5
    examples = retriever.vectors(Query(**marks))
    np.testing.assert_allclose(examples[0], rocchio_direction(mean, right[:0], wrong), atol=1e-6)
    stronger = retriever.vectors(Query(**marks, feedback="rocchio", negative_weight=0.5))
    np.testing.assert_allclose(stronger[0], rocchio_direction(mean, right, wrong, gamma=0.5), atol=1e-6)


def test_pages_of_one_way_of_feedback_do_not_continue_another(archive) -> None:
    retriever = Retriever(archive)
    following = retriever.search(Query(like="p05", not_like="p20", feedback="rocchio", k=3)).next
    assert retriever.search(Query(like="p05", not_like="p20", feedback="rocchio", k=3, after=following)).hits
    with pytest.raises(QueryError, match="another search"):
        retriever.search(Query(like="p05", not_like="p20", feedback="logistic", k=3, after=following))


def test_max_gives_each_record_its_best_example(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    page = retriever.search(Query(text=("red", "blue"), combine="max", k=24))
    single = {
        name: {hit.id: hit.score for hit in retriever.search(Query(text=name, k=24)).hits} for name in ("red", "blue")
    }
    expected = sorted((-max(single["red"][i], single["blue"][i]), i) for i in single["red"])
    assert [(hit.score, hit.id) for hit in page.hits] == [(-score, name) for score, name in expected]
    assert set(page.ids[:4]) == {"p00", "p01", "p22", "p23"}


def test_without_an_example_records_come_in_order(archive) -> None:
    page = Retriever(archive).search(Query(labels_all=("cold",), k=3))
    assert page.ids == ("p12", "p13", "p14")
    assert page.hits[0].score is None
    assert page.matched == 12
    assert [hit.id for hit in walk(Retriever(archive), Query(labels_all=("cold",), k=5))] == [
        f"p{at}" for at in range(12, 24)
    ]


@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 30), combine=st.sampled_from(["mean", "max"]), labelled=st.booleans())
def test_pages_join_to_the_whole(shared_retriever, k, combine, labelled) -> None:
    query = Query(text=("red", "green"), combine=combine, k=k, labels_any=("dark",) if labelled else ())
    hits = walk(shared_retriever, query)
    whole = shared_retriever.search(Query(text=("red", "green"), combine=combine, k=100, labels_any=query.labels_any))
    assert [(hit.rank, hit.id, hit.score) for hit in hits] == [(hit.rank, hit.id, hit.score) for hit in whole.hits]
    assert [hit.rank for hit in hits] == list(range(1, whole.matched + 1))


@pytest.fixture(scope="module")
def shared_retriever(tmp_path_factory):
    class Colours:
        dim, fingerprint = 3, "c"

        def encode_texts(self, texts):
            return np.array([{"red": RED, "green": GREEN}[text] for text in texts], np.float32)

        def encode_images(self, images):
            raise AssertionError("no image is searched for here")

    archive = Archive.create(tmp_path_factory.mktemp("pages") / "a", Colours())
    rng = np.random.default_rng(0)
    # Every vector three times: ties on the borders of pages.
    vectors = np.repeat(np.abs(rng.standard_normal((9, 3))), 3, axis=0)
    records = [Record(id=f"x{at:02d}", source="s", labels=("dark",) if at % 2 else ()) for at in range(27)]
    archive.add(records, vectors)
    return Retriever(archive, Colours())


def test_pages_stay_stable_while_records_come_and_go(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    first = retriever.search(Query(text="red", k=5))
    archive.add([Record(id=f"new{at}", source="s") for at in range(7)], np.tile(RED, (7, 1)))
    archive.remove([first.hits[2].id])
    second = retriever.search(Query(text="red", k=5, after=first.next))
    assert second.ids == ("p05", "p06", "p07", "p08", "p09")
    assert set(first.ids).isdisjoint(second.ids)


def test_next_of_another_search_is_refused(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    page = retriever.search(Query(text="red", k=5))
    with pytest.raises(QueryError, match="another search"):
        retriever.search(Query(text="blue", k=5, after=page.next))
    for bad in ("", "x", "####", "bm9uc2Vuc2U", "WzEsMiwzLDQsNV0"):
        with pytest.raises(QueryError, match="not the `next`"):
            retriever.search(Query(text="red", k=5, after=bad))
    assert retriever.search(Query(text="red", k=7, after=page.next)).ids[0] == "p05"


def test_filters_come_before_ranking(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    page = retriever.search(Query(text="red", labels_any=("cold",), where="cloud_cover >= 80", k=3))
    assert page.matched == 4
    assert page.ids == ("p20", "p21", "p22")
    assert retriever.search(Query(text="red", bbox=(130, -1, -130, 2), k=9)).matched == 3


def test_diversity_spreads_the_hits(archive, encoder) -> None:
    retriever = Retriever(archive, encoder)
    plain = retriever.search(Query(text="red", k=4))
    spread = retriever.search(Query(text="red", k=4, diversity=0.6))
    assert spread.ids[0] == plain.ids[0]

    def likeness(ids) -> float:
        rows = archive.vectors(ids)
        return float((rows @ rows.T)[np.triu_indices(len(ids), 1)].mean())

    assert likeness(spread.ids) < likeness(plain.ids) - 0.05
    assert spread.next is None
    assert retriever.search(Query(text="red", k=4, diversity=0.0)).ids == plain.ids


@pytest.mark.parametrize("form", ["mean", "max", "diverse", "listing"])
def test_one_search_sees_one_version(archive, encoder, monkeypatch, form) -> None:
    """Another process empties the archive in the middle of a search: the page is still of one piece."""
    everything = archive.ids()
    query = {
        "mean": Query(like=everything[0], k=5),
        "max": Query(like=everything[:2], combine="max", k=5),
        "diverse": Query(vector=np.ones(archive.dim), diversity=0.5, k=5),
        "listing": Query(k=5),
    }[form]
    expected = Retriever(archive, encoder).search(query)
    other = Archive.open(archive.uri)

    def then_emptied(method):
        def run(view, *arguments, **options):
            answer = method(view, *arguments, **options)
            other.remove(Filter())
            return answer

        return run

    for name in ("search", "ids", "vectors"):
        monkeypatch.setattr(View, name, then_emptied(getattr(View, name)))
    page = Retriever(archive, encoder).search(query)
    assert len(other) == 0
    assert page == expected
    assert page.matched == len(everything) - len(query.like)


def test_page_as_json(archive, encoder) -> None:
    page = Retriever(archive, encoder).search(Query(text="red", k=2))
    tree = json.loads(json.dumps(page.to_json(), allow_nan=False))
    assert list(tree)[:4] == ["schema", "matched", "hits", "next"]
    assert (tree["schema"], tree["matched"], len(tree["hits"])) == (1, 24, 2)
    assert tree["hits"][0] == {
        "rank": 1,
        "id": "p00",
        "score": 1.0,
        "source": "strip.tif",
        "window": [0, 0, 4, 4],
        "collection": "default",
        "datetime": "2021-01-01T00:00:00Z",
        "labels": ["warm"],
        "predicted": {},
        "caption": "=danger()",
        "bbox": [-144.0, 0.0, -143.0, 1.0],
        "properties": {"cloud_cover": 0, "score": 0},
    }


def test_page_as_geojson(archive, encoder) -> None:
    archive.add([Record(id="nowhere", source="s")], RED[None])
    tree = Retriever(archive, encoder).search(Query(text="red", k=3)).to_geojson()
    tree = json.loads(json.dumps(tree, allow_nan=False))
    assert (tree["type"], tree["numberMatched"], tree["numberReturned"]) == ("FeatureCollection", 25, 3)
    placed = {feature["id"]: feature for feature in tree["features"]}
    assert placed["nowhere"]["geometry"] is None
    assert "bbox" not in placed["nowhere"]
    assert placed["p00"]["geometry"]["type"] == "Polygon"
    assert placed["p00"]["bbox"] == [-144.0, 0.0, -143.0, 1.0]
    # The record has a property named score; the hit's own score is what a reader means.
    assert placed["p00"]["properties"]["score"] == 1.0
    assert placed["p00"]["properties"]["cloud_cover"] == 0


def test_page_as_csv_has_no_formulas(archive, encoder) -> None:
    text = Retriever(archive, encoder).search(Query(text="red", k=2)).to_csv()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["caption"] == "'=danger()"
    assert rows[1]["caption"] == "patch, 1"
    assert (rows[0]["rank"], rows[0]["west"], rows[0]["window"]) == ("1", "-144.0", "0 0 4 4")


def test_what_a_search_cannot_do_is_said(archive, encoder) -> None:
    class Other:
        dim, fingerprint = 3, "other"
        encode_images = encode_texts = None

    with pytest.raises(ModelMismatchError):
        Retriever(archive, Other())
    with pytest.raises(UsageError, match="searching by an image needs the model"):
        Retriever(archive).search(Query(image=picture(RED)))
    with pytest.raises(NotFoundError, match="no record 'p99'"):
        Retriever(archive).search(Query(like="p99"))
    with pytest.raises(UsageError, match="colours only"):
        Retriever(archive, encoder).search(Query(text="mauve"))
    with pytest.raises(QueryError, match="cancel each other out"):
        Retriever(archive, encoder).search(Query(text="red", vector=-RED))
    with pytest.raises(QueryError, match="no record has the label 'wram': did you mean 'warm'"):
        Retriever(archive).search(Query(labels_any=("wram",)))
    with pytest.raises(QueryError, match="2 dimensions, the archive has 3"):
        Retriever(archive).search(Query(vector=[1.0, 0.0]))
