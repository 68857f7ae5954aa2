"""STAC documents to scenes: which files, which bands, when and where; nothing fetched."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terraseek.errors import ImageError, NotFoundError, Refused
from terraseek.geo import StacScene, read_stac, stac

SQUARE = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]]}


def item(name: str, assets: dict[str, dict[str, Any]], **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": SQUARE,
        "bbox": [10, 50, 11, 51],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [],
        "assets": assets,
    }


def tif(href: str, **more: Any) -> dict[str, Any]:
    return {"href": href, "type": "image/tiff; application=geotiff", **more}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def one(path: Path, *bands: str) -> StacScene:
    (scene,) = read_stac(path, bands)
    assert isinstance(scene, StacScene), scene
    return scene


def test_an_item_names_its_files_time_and_place(tmp_path: Path) -> None:
    assets = {"blue": tif("./b.tif"), "green": tif("g.tif"), "red": tif("r.tif"), "thumb": {"href": "t.png"}}
    scene = one(write(tmp_path / "items" / "a.json", item("a", assets, **{"eo:cloud_cover": 3.5})))
    assert {band: file.href for band, file in scene.bands.items()} == {
        band: str(tmp_path / "items" / f"{band[0]}.tif") for band in ("red", "green", "blue")
    }
    assert list(scene.bands) == ["red", "green", "blue"]
    assert (scene.id, scene.href) == ("a", str(tmp_path / "items" / "a.json"))
    assert scene.datetime == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert scene.footprint is not None
    assert scene.footprint.equals(shapely.box(10, 50, 11, 51))
    assert scene.properties == {"eo:cloud_cover": 3.5}


def test_bands_by_asset_key_name_or_common_name(tmp_path: Path) -> None:
    for key in ("eo:bands", "bands"):
        assets = {
            "B4": tif("4.tif", **{key: [{"name": "B04", "common_name": "red"}]}),
            "all": tif("all.tif", **{key: [{"name": "n1"}, {"name": "n2"}, {"name": "n3"}]}),
        }
        path = write(tmp_path / "a.json", item("a", assets))
        for name in ("B4", "B04", "red"):
            assert Path(one(path, name).bands[name].href).name == "4.tif"
        found = one(path, "n3", "n1").bands
        assert [(Path(file.href).name, file.index) for file in found.values()] == [("all.tif", 3), ("all.tif", 1)]
    (refused,) = read_stac(path, ["B08"])
    assert isinstance(refused, Refused)
    assert "no band 'B08'; its assets are B4, all" in refused.reason


def test_an_item_gives_labels_and_a_caption(tmp_path: Path) -> None:
    known = {"terraseek:labels": ["beach", "sea"], "terraseek:caption": "surf", "eo:cloud_cover": 3}
    scene = one(write(tmp_path / "a.json", item("a", {"image": tif("a.tif")}, **known)))
    assert (scene.labels, scene.caption, dict(scene.properties)) == (("beach", "sea"), "surf", {"eo:cloud_cover": 3})
    assert one(write(tmp_path / "b.json", item("b", {"image": tif("a.tif")}))).labels == ()


@pytest.mark.parametrize("wrong", [{"terraseek:labels": "beach"}, {"terraseek:labels": [3]}, {"terraseek:caption": 3}])
def test_labels_that_are_none_are_refused_not_dropped(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (refused,) = read_stac(write(tmp_path / "a.json", item("a", {"image": tif("a.tif")}, **wrong)))
    assert isinstance(refused, Refused)
    assert next(iter(wrong)) in refused.reason


@pytest.mark.parametrize("name", ["datetime", "start_datetime"])
@pytest.mark.parametrize("date", ["bogus", "2024-13-01T00:00:00Z", "", 3])
def test_what_is_no_date_is_said_to_be_none(tmp_path: Path, name: str, date: object) -> None:
    (refused,) = read_stac(write(tmp_path / "a.json", item("a", {"image": tif("a.tif")}, **{name: date})))
    assert isinstance(refused, Refused)
    assert refused.reason == f"its {name} is no date: {str(date)!r}"


def test_a_picture_asset_comes_first_and_a_lone_raster_will_do(tmp_path: Path) -> None:
    rgb = {"red": tif("r.tif"), "green": tif("g.tif"), "blue": tif("b.tif")}
    for assets in ({**rgb, "visual": tif("v.tif")}, {**rgb, "quick": tif("v.tif", roles=["visual"])}):
        scene = one(write(tmp_path / "a.json", item("a", assets)))
        assert scene.picture == str(tmp_path / "v.tif")
        assert not scene.bands
    lone = {"data": tif("d.tif"), "thumbnail": tif("t.tif", roles=["thumbnail"])}
    assert one(write(tmp_path / "a.json", item("a", lone))).picture == str(tmp_path / "d.tif")


def test_an_item_collection_keeps_its_items_apart(tmp_path: Path) -> None:
    features = [item(f"i{n}", {"visual": tif(f"{n}.tif")}) for n in range(3)]
    features[1]["assets"] = {}
    found = list(read_stac(write(tmp_path / "c.json", {"type": "FeatureCollection", "features": features})))
    assert [type(scene) for scene in found] == [StacScene, Refused, StacScene]
    hrefs = [scene.href for scene in found if isinstance(scene, StacScene)]
    assert len(set(hrefs)) == 2
    assert isinstance(found[1], Refused)
    assert "its assets are none" in found[1].reason


def test_a_static_catalog_is_walked_once_whatever_its_links(tmp_path: Path) -> None:
    catalog = pystac.Catalog("root", "test")
    child = pystac.Collection(
        "c",
        "test",
        pystac.Extent.from_dict({"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}),
    )
    catalog.add_child(child)
    for n in range(3):
        stac = pystac.Item(f"i{n}", SQUARE, [10, 50, 11, 51], datetime(2024, 1, 1, tzinfo=UTC), {})
        stac.add_asset("visual", pystac.Asset(str(tmp_path / f"{n}.tif"), media_type="image/tiff"))
        child.add_item(stac)
    catalog.normalize_and_save(str(tmp_path / "cat"), pystac.CatalogType.SELF_CONTAINED)
    root = tmp_path / "cat" / "catalog.json"
    document = json.loads(root.read_text())
    document["links"] += [
        {"rel": "child", "href": "./catalog.json"},
        {"rel": "item", "href": "./gone.json"},
        {"rel": "item", "href": "https://example.org/item.json"},
    ]
    write(root, document)
    found = list(read_stac(root))
    scenes = [scene for scene in found if isinstance(scene, StacScene)]
    assert [scene.id for scene in scenes] == ["i0", "i1", "i2"]
    assert {scene.collection for scene in scenes} == {"c"}
    reasons = sorted(refused.reason for refused in found if isinstance(refused, Refused))
    assert len(reasons) == 2
    assert reasons[0].startswith("a link of")
    assert reasons[1] == "no such file"


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"type": "Point"}', '{"type": 7}', "[" * 100_000, '{"type": "Catalog"', "\udcff"]
)
def test_what_is_no_stac_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ImageError) as caught:
        list(read_stac(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFoundError):
        list(read_stac(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "damage",
    [
        {"id": None},
        {"properties": None},
        {"properties": {"datetime": "yesterday"}},
        {"assets": {"visual": {}}},
        {"assets": None},
        {"assets": []},
        {"geometry": {"type": "Polygon"}, "assets": {}},
        {"links": 3},
    ],
)
def test_a_damaged_item_is_refused_not_raised(tmp_path: Path, damage: dict[str, Any]) -> None:
    bad = item("bad", {"visual": tif("v.tif")}) | damage
    good = item("good", {"visual": tif("v.tif")})
    found = list(read_stac(write(tmp_path / "a.json", {"type": "FeatureCollection", "features": [bad, 7, good]})))
    assert isinstance(found[0], Refused)
    assert isinstance(found[1], Refused)
    assert isinstance(found[2], StacScene)


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": None},
        {"type": "FeatureCollection", "features": {"a": 1}},
        {"type": "FeatureCollection"},
    ],
)
def test_a_collection_without_items_says_so(tmp_path: Path, document: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="without a list of features"):
        list(read_stac(write(tmp_path / "a.json", document)))


@pytest.mark.parametrize("links", [None, {}, "abc", 7])
def test_a_catalog_without_links_is_refused(tmp_path: Path, links: object) -> None:
    root_links = [{"rel": "child", "href": "bad.json"}, {"rel": "item", "href": "i.json"}]
    write(tmp_path / "bad.json", {"type": "Catalog", "id": "b", "links": links})
    write(tmp_path / "i.json", item("i", {"visual": tif("v.tif")}))
    found = list(read_stac(write(tmp_path / "root.json", {"type": "Catalog", "id": "r", "links": root_links})))
    assert found[0] == Refused(source=str(tmp_path / "bad.json"), reason="a catalog without a list of links")
    assert isinstance(found[1], StacScene)


@pytest.mark.parametrize("href", [None, 7, "", {}, "\0", "a" * 5000, "https://[::1", "s3://bucket/i.json", "."])
def test_a_bad_link_is_one_line(tmp_path: Path, href: object) -> None:
    links = [{"rel": "item", "href": href}, 7, {"rel": []}, {"rel": "item", "href": "i.json"}]
    write(tmp_path / "i.json", item("i", {"visual": tif("v.tif")}))
    found = list(read_stac(write(tmp_path / "root.json", {"type": "Catalog", "id": "r", "links": links})))
    assert [type(scene) for scene in found] in ([Refused, StacScene], [StacScene, Refused])
    assert all("\n" not in str(scene) for scene in found if isinstance(scene, Refused))


def test_catalogs_in_circles_and_in_depth_end(tmp_path: Path) -> None:
    for n in range(2000):
        links = [{"rel": "child", "href": f"c{(n + 1) % 2000}.json"}, {"rel": "child", "href": f"./x/../c{n}.json"}]
        write(tmp_path / f"c{n}.json", {"type": "Catalog", "id": f"c{n}", "links": links})
    assert list(read_stac(tmp_path / "c0.json")) == []


def test_catalogs_beyond_a_limit_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac, "_MAX_DOCUMENTS", 5)
    links = [{"rel": "item", "href": f"{n}.json"} for n in range(10)]
    (refused,) = read_stac(write(tmp_path / "root.json", {"type": "Catalog", "id": "r", "links": links}))
    assert isinstance(refused, Refused)
    assert "more than 5 documents" in refused.reason


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    links = [{"rel": "item", "href": href} for href in ("pipe.json", "/dev/zero", "folder", "link.json")]
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to("/dev/zero")  # the same document as the second
    found = list(read_stac(write(tmp_path / "root.json", {"type": "Catalog", "id": "r", "links": links})))
    reasons = [refused.reason for refused in found if isinstance(refused, Refused)]
    assert reasons[:2] == ["not a regular file"] * 2
    assert "directory" in reasons[2]
    assert len(found) == 3
    with pytest.raises(ImageError, match="not a regular file"):
        list(read_stac(tmp_path / "pipe.json"))


def test_a_document_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac, "_MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(ImageError, match="is not read"):
        list(read_stac(write(tmp_path / "a.json", item("a", {}))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([*item("a", {}), "stac_extensions", "collection", "bbox"]), value=JSON, drop=st.booleans())
def test_whatever_an_item_says_it_is_a_scene_or_refused(tmp_path: Path, key: str, value: object, drop: bool) -> None:
    damaged = item("a", {"visual": tif("v.tif")}) | {key: value}
    if drop:
        damaged.pop(key, None)
    for found in read_stac(write(tmp_path / "a.json", {"type": "FeatureCollection", "features": [damaged]})):
        assert isinstance(found, (StacScene, Refused))
        assert "\n" not in (found.reason if isinstance(found, Refused) else found.id)


def test_an_item_nested_too_deeply_is_no_traceback(tmp_path: Path) -> None:
    nested: Any = {}
    for _ in range(700):
        nested = {"a": nested}
    (found,) = read_stac(write(tmp_path / "a.json", item("a", {"visual": tif("v.tif")}, deep=nested)))
    assert isinstance(found, (StacScene, Refused))


def test_addresses_are_named_not_fetched(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", item("a", {"visual": tif("https://example.org/v.tif")}))
    assert one(path).picture == "https://example.org/v.tif"
    self_link = item("a", {"visual": tif("v.tif")}) | {"links": [{"rel": "self", "href": "http://example.org/a.json"}]}
    assert one(write(path, self_link)).picture == str(tmp_path / "v.tif")  # relative to where it was read


@pytest.mark.data
def test_a_real_item(terraseek_data: Path) -> None:
    scene = one(terraseek_data / "scenes" / "rio-tiler" / "stac.json", "red", "green", "blue")
    assert scene.id == "JQT-123456789"
    assert [file.href.rpartition("/")[2] for file in scene.bands.values()] == ["red.tif", "green.tif", "blue.tif"]
