"""The rules of the house, checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "terraseek"

# A package imports only from rows above its own, and from itself.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "typing", "config", "registry", "relevance", "texts", "images"}),
    frozenset({"metrics", "data", "geo", "encoders"}),
    frozenset({"losses", "models", "archive"}),
    frozenset({"training", "search"}),
    frozenset({"cli", "service"}),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
TORCH = frozenset({"torch", "lightning", "kornia", "torchvision", "torchmetrics", "pytorch_lightning"})
TORCH_PACKAGES = frozenset({"losses", "models", "training"})
# Row 0 knows its own order; everything else in a row stands side by side.
ROW_0_ORDER = ("errors", "typing", "registry", "config", "relevance", "texts", "images")


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Every import as (line, absolute dotted name, whether it is at module level)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ("terraseek", *path.relative_to(SOURCE).parts[:-1])
    top = {id(node) for node in tree.body}
    for block in tree.body:
        if isinstance(block, (ast.If, ast.Try)):
            top.update(id(node) for node in ast.walk(block))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, [base, node.module or ""]))
            if name == "terraseek":
                for alias in node.names:
                    yield node.lineno, f"terraseek.{alias.name}", id(node) in top
            else:
                yield node.lineno, name, id(node) in top


def internal_edges() -> Iterator[tuple[Path, int, str, str]]:
    for path in modules():
        for line, name, _ in imports(path):
            parts = name.split(".")
            if parts[0] == "terraseek" and len(parts) > 1 and parts[1] != "__version__":
                yield path, line, package_of(path), parts[1]


def test_every_package_has_a_row() -> None:
    names = {package_of(path) for path in modules()} - {"__init__", "__main__"}
    assert names <= ROW_OF.keys(), f"give these a row in {__file__}: {sorted(names - ROW_OF.keys())}"


def test_imports_only_go_down_the_rows() -> None:
    wrong = []
    for path, line, importer, imported in internal_edges():
        if importer in ("__init__", "__main__") or importer == imported:
            continue
        below = ROW_OF[imported] < ROW_OF[importer]
        if ROW_OF[importer] == 0:
            below = imported in ROW_0_ORDER and ROW_0_ORDER.index(imported) < ROW_0_ORDER.index(importer)
        if not below:
            wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_no_cycles_between_modules() -> None:
    names = {
        ".".join(("terraseek", *p.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): p
        for p in modules()
    }
    graph: dict[str, set[str]] = {}
    for module, path in names.items():
        graph[module] = {name for _, name, top in imports(path) if top and name in names and name != module}
        # A package's __init__ re-exports its modules; a module's import of its own package is the cycle we look for.
        if path.name == "__init__.py":
            graph[module] = set()

    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_torch_stays_on_the_training_path() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for path in modules()
        for line, name, _ in imports(path)
        if name.split(".")[0] in TORCH and package_of(path) not in TORCH_PACKAGES
    ]
    assert not wrong, "\n".join(wrong)


def test_search_path_does_not_load_torch() -> None:
    code = (
        "import sys, terraseek, terraseek.search, terraseek.archive, terraseek.encoders, terraseek.cli.app;"
        "heavy = {'torch', 'lightning', 'scipy', 'matplotlib', 'openpyxl'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_doors_touch_print_environment_and_argv() -> None:
    wrong = []
    for path in modules():
        relative = path.relative_to(SOURCE)
        door = relative.parts[0] == "cli" or relative.as_posix() == "service/settings.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                if relative.parts[0] != "cli":
                    wrong.append(f"{relative}:{node.lineno} prints")
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and not door
                and (node.value.id, node.attr) in {("os", "environ"), ("os", "getenv"), ("sys", "argv")}
            ):
                wrong.append(f"{relative}:{node.lineno} reads {node.value.id}.{node.attr}")
    assert not wrong, "\n".join(wrong)


def test_fastapi_only_in_service() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in modules()
        for line, name, _ in imports(path)
        if name.split(".")[0] in {"fastapi", "uvicorn", "starlette"} and package_of(path) != "service"
    ]
    assert not wrong, "\n".join(wrong)


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                        yield f"{node.name}.{member.name}", member


def test_public_names_are_documented() -> None:
    missing = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {name}"  # type: ignore[attr-defined]
        for path in modules()
        if not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(SOURCE).parts)
        for name, node in public_definitions(path)
        if not ast.get_docstring(node)  # type: ignore[arg-type]
        and not any(
            "overload" in ast.unparse(d) or "setter" in ast.unparse(d) for d in getattr(node, "decorator_list", [])
        )
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_modules_start_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} says nothing about itself"


def test_nothing_names_a_machine_or_carries_data() -> None:
    root = SOURCE.parents[1]
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.split("\n")
    if tracked == [""]:
        pytest.skip("not a git checkout (an sdist): nothing to list")
    texts = [root / name for name in tracked if name and name != ".ci/run"]
    imagery = [p for p in texts if p.suffix in {".tif", ".tiff", ".jp2", ".pt", ".pth", ".onnx"}]
    assert not imagery, f"imagery or weights in the repository: {imagery}"
