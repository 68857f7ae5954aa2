from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from terraseek import __version__
from terraseek.cli import main

from .conftest import Run


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
        (("model", "list", "nowhere"), 3),
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


@pytest.mark.parametrize(
    "start", ["from terraseek.cli import main; sys.exit(main())", "runpy.run_module('terraseek', run_name='__main__')"]
)
def test_interrupt_while_modules_are_read_is_130_and_quiet(start: str) -> None:
    code = (
        "import os, runpy, signal, sys\n"
        # A shell's background job, as these tests may be, hands on that Ctrl-C is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        f"{start}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_doctor_names_every_extra(run: Run) -> None:
    report = run("doctor", "--json").json
    assert set(report["extras"]) >= {"train", "geo", "demo"}
    assert report["packages"]["numpy"]
    assert "terraseek[" in report["extras"]["train"]["install"]
    assert run("doctor").code == 0


def test_doctor_takes_the_extras_from_the_metadata(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run("doctor", "--json").json
    assert {"jinja2", "tensorboard", "torch"} <= report["extras"]["train"]["packages"].keys()
    assert report["extras"]["train"]["complete"]
    there = importlib.metadata.version
    found = {"jinja2": None, "tensorboard": "1.0"}

    def version(name: str) -> str:
        if found.get(name, "") is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found.get(name) or there(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    state = run("doctor", "--json").json["extras"]["train"]
    assert (state["complete"], state["packages"]["jinja2"], state["packages"]["tensorboard"]) == (False, None, None)
    assert "jinja2, tensorboard: pip install" in run("doctor").out


def test_doctor_and_help_say_where_models_are_kept(run: Run, tmp_path: Path) -> None:
    assert run("doctor", "--json").json["home"] == str(tmp_path / "home")
    assert "TERRASEEK_HOME" in run("--help").out
    assert "TERRASEEK_HOME" in run("doctor", "--help").out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "a\x1b[31m\nb"), "No space left"),
        (MemoryError(), "not enough memory"),
        (MemoryError("Unable to allocate 8 GiB"), "8 GiB"),
    ],
)
def test_system_errors_are_one_printable_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr("terraseek.cli.doctor._report", failing)
    result = run("doctor")
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    assert result.err.strip().isprintable()


def test_typer_bad_parameter_is_usage_error() -> None:
    # `main` relies on it to catch what typer's own copy of click raises.
    assert typer.BadParameter.__mro__[1].__name__ == "UsageError"
