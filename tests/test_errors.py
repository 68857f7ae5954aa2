"""Every error has one line, an exit code and an HTTP status; the drawing in the module is the real tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from terraseek import errors
from terraseek.errors import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    HTTP_STATUS,
    MissingExtraError,
    PartialError,
    QueryError,
    Refused,
    TerraseekError,
    exit_code,
    require,
)


def tree(kind: type[TerraseekError] = TerraseekError) -> list[type[TerraseekError]]:
    return [kind, *(sub for child in kind.__subclasses__() for sub in tree(child))]


OWN = [kind for kind in dict.fromkeys(tree()) if kind.__module__ == errors.__name__]
every_error = pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)


def test_no_error_is_defined_elsewhere() -> None:
    source = Path(errors.__file__).parent
    names = {kind.__name__ for kind in OWN}
    strays = [
        f"{path.relative_to(source)}:{node.lineno} {node.name}"
        for path in source.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and names & {ast.unparse(base).split(".")[-1] for base in node.bases}
    ]
    assert not strays, f"the tree of errors is in errors.py alone: {strays}"


@every_error
def test_every_error_has_an_exit_code_and_a_status(kind: type[TerraseekError]) -> None:
    code = exit_code(kind)
    assert 1 <= code < EXIT_INTERRUPTED
    status = next(HTTP_STATUS[base] for base in kind.__mro__ if base in HTTP_STATUS)
    assert status == 207 or 400 <= status < 600
    assert kind.__doc__


@every_error
def test_every_error_is_public_and_drawn_with_its_code(kind: type[TerraseekError]) -> None:
    assert kind.__name__ in errors.__all__
    assert errors.__doc__ is not None
    row = re.search(rf"^([│ ├└─]*){kind.__name__}\s+(\d+)", errors.__doc__, re.MULTILINE)
    assert row is not None, f"{kind.__name__} is missing from the drawing"
    assert int(row[2]) == exit_code(kind)
    depth = 0
    drawn_under = kind
    while drawn_under is not TerraseekError:  # where there are two bases, it is drawn under the first
        depth, drawn_under = depth + 1, drawn_under.__bases__[0]
    assert len(row[1]) == 4 * depth


def test_documented_exit_codes() -> None:
    codes = {kind.__name__: exit_code(kind) for kind in OWN}
    assert codes["TerraseekError"] == codes["ImageError"] == codes["BusyError"] == 1
    assert codes["ConfigError"] == codes["QueryError"] == 2
    assert codes["NotFoundError"] == 3
    assert codes["ModelMismatchError"] == codes["CorruptError"] == 4
    assert codes["PartialError"] == 5
    assert set(EXIT_CODES) <= set(OWN)
    assert set(HTTP_STATUS) <= set(OWN)


def test_an_instance_has_the_code_of_its_kind() -> None:
    assert exit_code(QueryError("a bbox has 4 numbers")) == exit_code(QueryError) == 2


def test_partial_error_lists_what_it_left_out() -> None:
    refused = [Refused(source="a.tif", reason="zero bytes"), Refused(source="b.tif", reason="truncated")]
    error = PartialError("2 of 5 images were refused", refused)
    assert str(error) == "2 of 5 images were refused"
    assert [str(item) for item in error.refused] == ["a.tif: zero bytes", "b.tif: truncated"]


def test_require_names_the_extra() -> None:
    assert require("json", "train").loads("1") == 1
    with pytest.raises(MissingExtraError, match=r"pip install 'terraseek\[train\]'"):
        require("a_module_that_is_not_there", "train")
    with pytest.raises(MissingExtraError, match=r"json\.nothing is not installed"):
        require("json.nothing", "train")


def test_require_passes_on_what_a_module_itself_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("import a_dependency_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_of_it"):
        require("broken_module", "train")
