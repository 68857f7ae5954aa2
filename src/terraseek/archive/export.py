"""Archives as files that other tools read: GeoParquet, GeoJSON, CSV, STAC; and back from GeoParquet and STAC."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ..errors import ConfigError, NotFoundError, TerraseekError, UsageError
from ..registry import nearest
from .archive import Archive
from .batches import Progress, view_batches
from .features import write_geojson
from .filters import Filter
from .geoparquet import read_geoparquet, write_geoparquet
from .hilbert import hilbert_order
from .manifest import ModelIdentity
from .stac import read_items, write_stac
from .table import write_csv
from .view import View

__all__ = ["ExportFormat", "export_archive", "import_archive"]

ExportFormat: TypeAlias = Literal["geoparquet", "geojson", "csv", "stac"]
SUFFIXES: dict[str, ExportFormat] = {
    ".parquet": "geoparquet",
    ".geoparquet": "geoparquet",
    ".geojson": "geojson",
    ".csv": "csv",
    ".json": "stac",
}
READERS = {
    **dict.fromkeys((".parquet", ".geoparquet"), read_geoparquet),
    **dict.fromkeys((".json", ".geojson"), read_items),
}
WRITERS = {"geoparquet": write_geoparquet, "geojson": write_geojson, "csv": write_csv, "stac": write_stac}


def export_archive(
    archive: Archive,
    path: str | Path,
    kind: ExportFormat | None = None,
    *,
    where: Filter | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write records to one file; it appears under its name when it is complete.

    Args:
        archive: one version of it is written.
        path: .parquet, .geojson, .csv or .json (STAC ItemCollection), unless `kind` says which.
        kind: "geoparquet" (1.1, rows along a Hilbert curve, with a bbox covering, vectors and thumbnails) and "stac"
            (with vectors) can be imported again; "geojson" and "csv" are for maps and tables and hold no vectors.
        where: only the records that pass.
        dry_run: check and count, and write nothing.
        progress: called with records done and records in all.

    Returns:
        How many records were, or would be, written.

    Raises:
        UsageError: an unknown kind, or a suffix that names none.
    """
    path = Path(path)
    chosen = kind or SUFFIXES.get(path.suffix.lower())
    if chosen not in get_args(ExportFormat):
        hint = nearest(str(kind or path.suffix), list(get_args(ExportFormat)))
        ask = "" if kind else "; end the name in .parquet, .geojson, .csv or .json, or say which with --format"
        raise UsageError(f"unknown export format {kind or path.suffix!r}: {hint}{ask}")
    assert chosen is not None
    if dry_run:
        return archive.count(where or Filter())
    write, partial = WRITERS[chosen], path.with_name(path.name + ".partial")

    def written(view: View) -> int:
        ids = hilbert_order(view, view.ids(where))
        write(partial, archive, view_batches(view, ids, progress))
        return len(ids)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        count = archive.read(written)
        partial.replace(path)
    except OSError as error:
        raise TerraseekError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return count


def import_archive(
    archive: Archive,
    path: str | Path,
    *,
    trust: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> int:
    """Add the records and vectors of a GeoParquet file or a STAC ItemCollection, without encoding anything.

    Args:
        archive: what they are added to; records with the same ids are replaced.
        path: .parquet with the columns `id` and `embedding`, or .json whose items have `emb:vector`.
        trust: take vectors whose model the file does not name as this archive's model's.
        dry_run: read and count, and add nothing.
        progress: called with records done and 0, for not known.

    Returns:
        How many records were read.

    Raises:
        NotFoundError: no such file.
        UsageError: a file of another form than these.
        ModelMismatchError: the file's vectors are of another model.
        ConfigError: the file does not say of which model, and `trust` is off.
        DatasetError: it holds no vectors, or a row of it makes no record; the message says which and why, and nothing
            is imported.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"no file at {path}")
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise UsageError(
            f"{path} cannot be imported: what can be is GeoParquet (.parquet) and STAC (.json), which hold vectors; "
            "images and scenes are put in with `archive add`"
        )
    model, batches = read(path, archive.dim)
    if model is None or not model["fingerprint"]:
        if not trust:
            raise ConfigError(
                f"{path} does not say which model made its vectors; if it is this archive's "
                f"({archive.model.describe()}), take them with --trust"
            )
    else:
        archive.check_model(ModelIdentity(**model))
    for _ in batches():  # all of it is looked at before any of it is written: a bad row must not leave half a file
        pass
    done = 0
    for batch in batches():
        if not dry_run:
            archive.add(batch.records, batch.vectors_ND)
        done += len(batch.records)
        if progress:
            progress(done, 0)
    return done
