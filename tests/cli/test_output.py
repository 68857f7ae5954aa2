from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console

from terraseek.cli import output
from terraseek.cli.output import show_table


def shown(total: int, monkeypatch: pytest.MonkeyPatch, *, terminal: bool = True) -> str:
    """What a bar says when 100 things a second are done, up to half of 1,000."""
    clock = [0.0]
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, get_time=lambda: clock[0], color_system=None)
    monkeypatch.setattr(output, "stderr", console)
    with output.show_progress("adding [red]") as progress:
        for done in range(0, 501, 100):
            clock[0] = done / 100
            progress(done, total)
        console.print("", end="")
    return out.getvalue()


def test_progress_shows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(1000, monkeypatch)
    assert "adding [red]" in text
    assert "500/1000" in text
    assert "100/s, 0:00:05 left" in text


def test_progress_towards_an_unknown_end_shows_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(0, monkeypatch)
    assert "100/s" in text
    assert "left" not in text


def test_progress_is_silent_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(1000, monkeypatch, terminal=False) == ""


def test_json_escapes_what_a_terminal_might_obey_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"a": "é中\U0001f6f0 \x1b[31m\x9b\u202e\u2028\x7f\udcff", "b": [1, None, 2.5]}
    output.emit_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert "é中\U0001f6f0" in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_json_on_a_terminal_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.emit_json({"a": "é\U0001f6f0"})
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode("ascii")) == {"a": "é\U0001f6f0"}


def test_tables_escape_and_keep_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table("", ("a",), [("x\x1b[31m\u202ey\xa0z [bold]",)])
    text = capsys.readouterr().out
    assert "x\\x1b[31m\\u202ey\xa0z [bold]" in text


def test_tables_leave_out_what_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("", ("id", "labels", "bbox"), [("a", "", ""), ("b", "", "1, 2")], hide_empty=True)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["id", "bbox"],
        ["a"],
        ["b", "1,", "2"],
    ]
    show_table("", ("id", "labels"), [], hide_empty=True)
    assert capsys.readouterr().out.split() == ["id", "labels"]
    show_table("", ("", ""), [("records", "3")])
    assert capsys.readouterr().out.split() == ["records", "3"]
