from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from terraseek import __version__
from terraseek.cli import app, main

from .conftest import Run


def commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    children = getattr(command, "commands", {})
    if not children:
        return [path]
    return [path, *(found for name, child in children.items() for found in commands(child, (*path, name)))]


ALL = commands(get_command(app))
LEAVES = [path for path in ALL if path and path not in {("data",), ("model",), ("archive",)}]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_of_every_command(run: Run, path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert result.code == 0
    assert "Usage:" in result.out


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_example_names_its_command_and_known_options(run: Run, path: tuple[str, ...]) -> None:
    help_text = run(*path, "--help").out
    example = re.search(r"Example:\s+(terraseek [^│╭]+)", help_text)
    assert example, f"{' '.join(path)} shows no example"
    words = " ".join(example.group(1).split())
    assert words.startswith(f"terraseek {' '.join(path)}")
    for option in re.findall(r"\s(--[a-z-]+)", words):
        assert option in help_text.replace(words, ""), f"the example uses {option}, which is not an option"


def test_version(run: Run) -> None:
    assert run("--version").out.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("serach",), 2),
        (("search",), 2),
        (("search", "x", "--no-such-option"), 2),
        (("archive", "status", "nowhere"), 3),
        (("model", "info", "nowhere"), 3),
        (("train", "nowhere.toml"), 3),
        (("data", "check", "ucmerced-ml", "--root", "nowhere"), 3),
        (("data", "check", "ucmerced", "--root", "."), 2),
    ],
)
def test_exit_codes(run: Run, arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.code == code
    assert result.out == "" or "Usage" in result.out
    assert "Traceback" not in result.err


def test_errors_are_one_line_and_never_markup(run: Run, archive: Path) -> None:
    result = run("search", archive, "--like", "[bold]x[/bold]")
    assert result.code == 3
    assert result.err.strip().count("\n") == 0
    assert "[bold]x[/bold]" in result.err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("terraseek.cli.doctor._report", interrupted)
    assert main(["doctor"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_doctor_names_every_extra(run: Run) -> None:
    report = run("doctor", "--json").json
    assert set(report["extras"]) >= {"train", "geo", "demo"}
    assert report["packages"]["numpy"]
    assert "terraseek[" in report["extras"]["train"]["install"]
    assert run("doctor").code == 0


def test_typer_bad_parameter_is_usage_error() -> None:
    # `main` relies on it to catch what typer's own copy of click raises.
    assert typer.BadParameter.__mro__[1].__name__ == "UsageError"
