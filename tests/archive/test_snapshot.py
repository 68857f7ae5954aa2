"""What a snapshot keeps in memory."""

from __future__ import annotations

import pyarrow as pa
import pytest

from terraseek.archive.schema import RECORD_COLUMNS, records_schema
from terraseek.archive.snapshot import joined

PREDICTED = pa.list_(pa.struct([pa.field("label", pa.string()), pa.field("score", pa.float64())]))


def narrow_parts(kind: pa.DataType) -> list[pa.DataType]:
    """The types in a type whose 32-bit offsets end at 2 GiB."""
    inside = [part for at in range(kind.num_fields) for part in narrow_parts(kind.field(at).type)]
    narrow = pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_list(kind)
    return [*inside, kind] if narrow else inside


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), [["a", None], ["", "日本"]]),
        (pa.binary(), [[b"a", None], [], [b"\x00"]]),
        (pa.list_(pa.string()), [[["a", "b"], []], [None, ["c", None]]]),
        (PREDICTED, [[[{"label": "sea", "score": 0.5}]], [[], [{"label": None, "score": 1.0}]]]),
        (pa.list_(pa.int32(), 2), [[[1, 2], None], [[3, 4]]]),
        (pa.timestamp("us", "UTC"), [[0, None], []]),
        (pa.string(), []),
    ],
    ids=["text", "bytes", "texts", "structs", "fixed", "moment", "no chunk"],
)
def test_joined_columns_have_no_offsets_that_end_at_2_gib(kind: pa.DataType, values: list[list[object]]) -> None:
    column = pa.chunked_array([pa.array(chunk, kind) for chunk in values], kind)
    one = joined(column)
    assert isinstance(one, pa.Array)
    assert narrow_parts(one.type) == []
    assert one.to_pylist() == column.to_pylist()
    if not narrow_parts(kind):
        assert one.type == kind


def test_columns_of_all_versions_have_no_offsets_that_end_at_2_gib(filled, records_of) -> None:
    assert any(narrow_parts(records_schema(8, {}).field(name).type) for name in RECORD_COLUMNS)
    first = filled.snapshot().columns(RECORD_COLUMNS)
    filled.remove(["r00003"])
    filled.add(*records_of(20, seed=4, prefix="late"))
    second = filled.snapshot().columns(RECORD_COLUMNS)  # brought up from the first
    for columns, size in ((first, 300), (second, 319)):
        for name, values in columns.items():
            assert (name, len(values), narrow_parts(values.type)) == (name, size, [])
