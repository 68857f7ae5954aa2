"""What every command shares in how it speaks: JSON, tables, progress, refused items."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ..config import parse_override
from ..errors import PartialError, Refused, UsageError
from ..images import printable

__all__ = [
    "DryRun",
    "Json",
    "LogHandler",
    "complain",
    "emit_json",
    "parse_options",
    "raise_if_refused",
    "say",
    "show_progress",
    "show_table",
    "stderr",
    "stdout",
]

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

SHOWN_REFUSED = 20
# What loading and checking a data set take from the command, not from the data set's own options.
OWN_OPTIONS = frozenset({"decode", "progress", "root", "seed", "splits"})


def say(text: str = "", *, to: Console = stdout) -> None:
    """Print lines as they are: nothing in them is markup or speaks to the terminal, which alone wraps them."""
    to.print("\n".join(map(printable, text.split("\n"))), markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Say on stderr, in one line, why the command did not do what it was asked to."""
    stderr.print("[bold red]error[/]: ", end="")
    say(" ".join(line.strip() for line in text.splitlines()), to=stderr)


def emit_json(value: Any) -> None:
    """Print one JSON document on stdout; in its strings every character that a terminal might obey is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    sys.stdout.write(_NOT_ASCII.sub(_escaped, text) + "\n")


_NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(character)[1:-1]
    return character if character.isprintable() else json.dumps(character)[1:-1]


class LogHandler(logging.Handler):
    """Says on stderr, above a progress bar, what is logged; and where it comes from if `verbose`."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(f"%(levelname)s{' %(name)s' if verbose else ''}: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(self.format(record), to=stderr)


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as keyword arguments of a data set, values read as TOML where they are TOML.

    Raises:
        ConfigError: a text of another form.
        UsageError: what the command has an option of its own for.
    """
    options = {}
    for text in texts:
        keys, value = parse_override(text)
        name = ".".join(keys)
        if name in OWN_OPTIONS:
            raise UsageError(f"--option {text}: {name} is no option of a data set, the command itself may have it")
        options[name] = value
    return options


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, hide_empty: bool = False
) -> None:
    """Print a table on stdout; numbers are right-aligned, and nothing in a cell is read as markup.

    Args:
        title: above it; may be empty.
        columns: their names; a table whose columns have none has no header.
        rows: a cell for each column.
        hide_empty: leave out columns in which no row says anything.
    """
    kept = [at for at in range(len(columns)) if not (hide_empty and rows) or any(row[at] != "" for row in rows)]
    columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
    table = Table(
        title=title or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_header=any(columns),
    )
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # A pipe has no width: wide enough that no cell is folded where a program reads it.
    width = None if stdout.is_terminal else 400
    Console(highlight=False, markup=False, width=width).print(table)


def _cell(value: object) -> str:
    return printable(f"{value:.4f}" if isinstance(value, float) else value)


@contextmanager
def show_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, with rate and time left, only where a person watches."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
    )
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal, transient=True) as progress:
        task = progress.add_task(label, total=None, rate="")

        def update(done: int, total: int) -> None:
            elapsed = progress.tasks[task].elapsed or 0.0
            rate = ""
            if done and elapsed > 1:
                left = timedelta(seconds=round(elapsed * max(0, total - done) / done))
                rate = f"{done / elapsed:,.{0 if done > elapsed else 1}f}/s" + (f", {left} left" if total else "")
            progress.update(task, completed=done, total=total or None, rate=rate)

        yield update


def raise_if_refused(refused: Sequence[Refused], done: str) -> None:
    """Name the refused items on stderr and end the command with the code for a partial success.

    Raises:
        PartialError: there is at least one.
    """
    if not refused:
        return
    for item in refused[:SHOWN_REFUSED]:
        say(f"refused {item}", to=stderr)
    if len(refused) > SHOWN_REFUSED:
        say(f"... and {len(refused) - SHOWN_REFUSED} more (all of them with --json)", to=stderr)
    raise PartialError(f"{done}; {len(refused)} refused", refused)
