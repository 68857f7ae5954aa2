from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import shapely
from pystac import STACObjectType

from terraseek.archive import Archive, Filter, ModelIdentity, Record, export_archive, import_archive
from terraseek.archive.hilbert import hilbert_distance
from terraseek.archive.stac import record_from_item, stac_item
from terraseek.errors import ConfigError, CorruptError, DatasetError, ModelMismatchError, NotFoundError, UsageError


@pytest.fixture
def special(filled) -> Archive:
    """The filled archive, and records that are hard to write."""
    records = [
        Record(id="bare", source="s"),
        Record(id="wide", source="s", footprint=shapely.box(179, -1, 181, 1), labels=("a;b", '"quoted"')),
        Record(id="=cmd()", source="-2+3", caption="@sum\nline", properties={"source": "own", "datetime": "own"}),
    ]
    filled.add(records, np.eye(8)[:3])
    return filled


@pytest.mark.parametrize("suffix", [".parquet", ".geoparquet", ".json"])
def test_what_is_exported_and_imported_gives_the_same_answers(special, tmp_path, suffix) -> None:
    path = tmp_path / f"out{suffix}"
    assert export_archive(special, path) == 303
    again = Archive.create(tmp_path / "again", special.model)
    assert import_archive(again, path) == 303
    ids = special.ids()
    assert again.ids() == ids
    with_pictures = suffix != ".json"
    assert again.get(ids, thumbnails=with_pictures) == special.get(ids, thumbnails=with_pictures)
    for query in np.random.default_rng(0).standard_normal((5, 8)):
        where = Filter(bbox=(100, -80, -60, 80), labels_none=("town",))
        one, two = special.search(query, 20, where), again.search(query, 20, where)
        assert (one.ids, one.scores, one.matched) == (two.ids, two.scores, two.matched)
    import_archive(again, path)
    assert len(again) == 303


def test_older_stac_exports_bring_the_state_of_sources_as_a_plain_property() -> None:
    record = Record(id="a", source="s", properties={"source_state": "f00", "gsd": 10})
    item = stac_item(record, np.zeros(2), ModelIdentity(fingerprint="f", dim=2))
    assert record_from_item(item) == record
    item["properties"]["source_state"] = item["properties"].pop("terraseek:properties")["source_state"]
    assert record_from_item(item) == record
    assert record.shown_properties == {"gsd": 10}


def test_geoparquet_follows_the_specification(special, tmp_path) -> None:
    export_archive(special, tmp_path / "out.parquet", where=Filter(collections=("c1",)))
    file = pq.ParquetFile(tmp_path / "out.parquet")
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB"
    table = file.read()
    assert table.num_rows == 100
    for side, path in column["covering"]["bbox"].items():
        assert table[path[0]].type.field(path[1]).name == side
    for row in table.to_pylist():
        bounds = shapely.from_wkb(row["geometry"]).bounds
        assert tuple(row["bbox"][side] for side in ("xmin", "ymin", "xmax", "ymax")) == bounds


def test_rows_follow_a_hilbert_curve(special, tmp_path) -> None:
    export_archive(special, tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet", columns=["geometry"])["geometry"].to_pylist()
    centres = np.array([shapely.from_wkb(row).centroid.coords[0] for row in rows if row is not None])
    order = np.random.default_rng(0).permutation(len(centres))
    walk = np.linalg.norm(np.diff(centres, axis=0), axis=1).mean()
    shuffled = np.linalg.norm(np.diff(centres[order], axis=0), axis=1).mean()
    assert walk < shuffled / 4
    assert rows[-1] is None


def test_the_hilbert_curve_visits_every_cell_once_and_steps_to_neighbours() -> None:
    side = 8
    lon, lat = np.meshgrid(np.arange(side), np.arange(side))
    lon, lat = lon.ravel(), lat.ravel()
    distance = hilbert_distance((lon + 0.5) / side * 360 - 180, (lat + 0.5) / side * 180 - 90, order=3)
    assert sorted(distance) == list(range(side * side))
    order = np.argsort(distance)
    steps = np.abs(np.diff(lon[order])) + np.abs(np.diff(lat[order]))
    assert (steps == 1).all()


def test_geojson(special, tmp_path) -> None:
    export_archive(special, tmp_path / "out.geojson")
    tree = json.loads((tmp_path / "out.geojson").read_text())
    features = {feature["id"]: feature for feature in tree["features"]}
    assert len(features) == 303
    assert features["wide"]["geometry"]["type"] == "MultiPolygon"
    assert features["wide"]["bbox"] == [179, -1, -179, 1]
    assert features["bare"]["geometry"] is None


def test_stac_items_are_valid(special, tmp_path) -> None:
    export_archive(special, tmp_path / "out.json", where=Filter(ids=("r00001", "bare", "wide")))
    collection = pystac.ItemCollection.from_file(str(tmp_path / "out.json"))
    items = {item.id: item for item in collection}
    assert set(items) == {"r00001", "bare", "wide"}
    assert items["r00001"].datetime.isoformat() == "2020-01-02T00:00:00+00:00"
    assert items["bare"].properties["start_datetime"]
    assert items["r00001"].properties["emb:dimensions"] == 8 == len(items["r00001"].properties["emb:vector"])
    assert items["r00001"].assets["image"].href == "scene1.tif"


def test_stac_items_pass_the_validation_of_pystac(special, tmp_path) -> None:
    export_archive(special, tmp_path / "out.items", kind="stac")
    collection = pystac.ItemCollection.from_file(str(tmp_path / "out.items"))
    assert len(collection) == 303
    for item in collection:
        item.validate()
    # Of the core schemas pystac has those of its own version at hand, and it brings what it reads up to that. What we
    # wrote ourselves has to pass as it stands, but for the version.
    current = pystac.get_stac_version()
    raw = json.loads((tmp_path / "out.items").read_text())["features"]
    for item in raw:
        pystac.validation.validate_dict({**item, "stac_version": current}, STACObjectType.ITEM, current)
    del raw[0]["properties"]["datetime"]
    with pytest.raises(pystac.STACValidationError, match="datetime"):
        pystac.validation.validate_dict({**raw[0], "stac_version": current}, STACObjectType.ITEM, current)


def test_an_item_collection_too_large_to_hold_is_refused(special, archive, tmp_path, monkeypatch) -> None:
    export_archive(special, tmp_path / "out.json")
    size = (tmp_path / "out.json").stat().st_size
    monkeypatch.setattr("terraseek.archive.stac.MAX_BYTES", size)
    assert import_archive(archive, tmp_path / "out.json") == 303
    monkeypatch.setattr("terraseek.archive.stac.MAX_BYTES", size - 1)
    with pytest.raises(UsageError, match=r"out.json has .* GB, .* GeoParquet .* \.parquet"):
        import_archive(archive, tmp_path / "out.json")


def test_csv_has_no_formulas(special, tmp_path) -> None:
    hidden = Record(id="hidden", source="s", labels=("0", "=1+1"), caption="a\u202eb\x9b31m\x1b[0m")
    special.add([hidden], np.ones((1, 8)))
    export_archive(special, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 304
    odd = rows["'=cmd()"]
    assert (odd["source"], odd["caption"]) == ("'-2+3", "'@sum\nline")
    assert rows["hidden"]["labels"] == "0;'=1+1"
    assert rows["hidden"]["caption"] == "a\\u202eb\\x9b31m\\x1b[0m"
    assert float(rows["r00001"]["west"]) == special.get(["r00001"])[0].bbox[0]


def test_an_export_that_fails_leaves_nothing(special, tmp_path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    (tmp_path / "out.csv").write_text("as it was")
    with pytest.raises(StopError):
        export_archive(special, tmp_path / "out.csv", progress=stop)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "as it was"
    with pytest.raises(UsageError, match=r"unknown export format '\.txt'"):
        export_archive(special, tmp_path / "out.txt")
    with pytest.raises(UsageError, match=r"unknown export format '': .* say which with --format"):
        export_archive(special, tmp_path / "out")


def foreign(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_embeddings_of_others_come_in_when_they_are_trusted(archive, tmp_path) -> None:
    path = foreign(
        tmp_path / "theirs.parquet",
        id=["a", "b"],
        embedding=[[1.0] * 8, [0.5] * 7 + [2.0]],
        geometry=[shapely.to_wkb(shapely.box(0, 0, 1, 1)), None],
        cloud=[3.5, 9.0],
    )
    with pytest.raises(ConfigError, match=r"does not say which model .* this archive's \(.*\), take them with --trust"):
        import_archive(archive, path)
    assert import_archive(archive, path, trust=True) == 2
    assert archive.get(["a"])[0] == Record(
        id="a", source="theirs.parquet", footprint=shapely.box(0, 0, 1, 1), properties={"cloud": 3.5}
    )


def test_imports_that_cannot_be_are_refused(special, archive, tmp_path) -> None:
    export_archive(special, tmp_path / "out.parquet")
    other = Archive.create(tmp_path / "other", ModelIdentity(fingerprint="other", dim=8))
    with pytest.raises(ModelMismatchError):
        import_archive(other, tmp_path / "out.parquet")
    with pytest.raises(NotFoundError):
        import_archive(archive, tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(CorruptError, match="no Parquet file"):
        import_archive(archive, tmp_path / "bad.parquet")
    with pytest.raises(DatasetError, match="no column 'embedding'"):
        import_archive(archive, foreign(tmp_path / "x.parquet", id=["a"]), trust=True)
    with pytest.raises(DatasetError, match=r"y.parquet: row 1: its vector has 2 numbers, the archive needs 8"):
        import_archive(archive, foreign(tmp_path / "y.parquet", id=["a"], embedding=[[1.0, 2.0]]), trust=True)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(CorruptError, match="no STAC ItemCollection"):
        import_archive(archive, tmp_path / "bad.json")
    (tmp_path / "plain.json").write_text('{"features": [{"id": "i", "properties": {}}]}')
    with pytest.raises(DatasetError, match=r"plain.json holds no vectors \(no item has an emb:vector\)"):
        import_archive(archive, tmp_path / "plain.json", trust=True)
    export_archive(special, tmp_path / "map.geojson")
    with pytest.raises(DatasetError, match=r"map.geojson holds no vectors .* .parquet and .json hold them"):
        import_archive(archive, tmp_path / "map.geojson")
    export_archive(special, tmp_path / "table.csv")
    with pytest.raises(UsageError, match=r"table.csv cannot be imported: .* GeoParquet \(.parquet\) and STAC"):
        import_archive(archive, tmp_path / "table.csv", trust=True)


GOOD = [1.0] * 8


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embedding": [GOOD, None]}, "row 2: it has no vector"),
        ({"embedding": [GOOD, [1.0] * 7]}, "row 2: its vector has 7 numbers, the archive needs 8"),
        ({"embedding": [GOOD, [float("nan")] * 8]}, "row 2: its vector has a value that is not finite"),
        ({"embedding": [GOOD, [None] * 8]}, "row 2: its vector has a value that is not finite"),
        ({"embedding": [GOOD, [0.0] * 8]}, "row 2: its vector is zero"),
        ({"embedding": ["text", "text"]}, "its column 'embedding' holds string, lists of numbers are needed"),
        ({"embedding": [[["deep"]] * 8] * 2}, "row 1: its vector "),
        ({"embedding": [["1a"] * 8] * 2}, "row 1: its vector has something that is no number"),
        ({"id": ["a", "a"]}, "row 2: the id 'a' is that of row 1 too"),
        ({"id": ["a", None]}, "row 2: it has no id"),
        ({"id": ["a", ""]}, "row 2: record '': id has 0 characters"),
        ({"geometry": [None, b"no WKB"]}, "row 2: "),
        ({"datetime": ["2020-01-01", "yesterday"]}, "row 2: "),
        ({"labels": ["beach", "sea"]}, "row 1: record 'a': labels are a sequence of names, not 'beach'"),
        ({"properties": ["{", "{}"]}, "row 1: "),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(archive, tmp_path, columns, message) -> None:
    path = foreign(tmp_path / "bad.parquet", **({"id": ["a", "b"], "embedding": [GOOD, GOOD]} | columns))
    with pytest.raises(DatasetError, match=re.escape(f"{path}: {message}")) as caught:
        import_archive(archive, path, trust=True)
    assert "\n" not in str(caught.value)
    assert len(archive) == 0


def test_stac_items_of_several_models_and_bad_items_are_named(special, tmp_path, archive) -> None:
    path, version = tmp_path / "out.json", archive.snapshot().version
    export_archive(special, path)
    whole = json.loads(path.read_text())

    def written(change) -> None:
        tree = json.loads(json.dumps(whole))
        change(tree["features"])
        path.write_text(json.dumps(tree))

    written(lambda items: items[7]["properties"].update({"emb:model": "another"}))
    with pytest.raises(DatasetError, match=r"vectors of 2 models \(f{12}, another\)"):
        import_archive(archive, path)
    written(lambda items: items[7]["properties"].pop("emb:vector"))
    with pytest.raises(DatasetError, match="item 8: it has no vector"):
        import_archive(archive, path)
    written(lambda items: items[7]["properties"]["emb:vector"].pop())
    with pytest.raises(DatasetError, match="item 8: its vector has 7 numbers"):
        import_archive(archive, path)
    written(lambda items: items[7].pop("id"))
    with pytest.raises(DatasetError, match="item 8: it has no 'id'"):
        import_archive(archive, path)
    written(lambda items: items[7].update(id=items[0]["id"]))
    with pytest.raises(DatasetError, match=r"item 8: the id .* is that of item 1 too"):
        import_archive(archive, path)
    written(lambda items: items[7].update(geometry={"type": "Star"}))
    with pytest.raises(DatasetError, match="item 8: "):
        import_archive(archive, path)
    assert archive.snapshot().version == version


def test_a_torn_parquet_file_imports_nothing(special, tmp_path, archive) -> None:
    path, version = tmp_path / "out.parquet", archive.snapshot().version
    export_archive(special, path)
    data = bytearray(path.read_bytes())
    data[2000:6000] = bytes(4000)
    path.write_bytes(data)
    with pytest.raises((CorruptError, DatasetError), match=re.escape(str(path))):
        import_archive(archive, path)
    assert archive.snapshot().version == version
    assert len(archive) == len(special)
