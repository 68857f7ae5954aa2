"""The application: its commands, its options for all of them, and what becomes of an error."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import EXIT_INTERRUPTED, TerraseekError, exit_code
from ..images import printable
from . import archive, data, demo, doctor, evaluate, model, search, train
from .output import LogHandler, complain, stderr, stdout

__all__ = ["app", "main"]

# typer brings its own copy of click: the base of its BadParameter is the public way to that copy's UsageError.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="terraseek",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: `terraseek search coast --image beach.png`\n\n"
    "Models and decoded pixels are kept in the folder that the environment variable TERRASEEK_HOME names, else in the "
    "platform's cache folder (`terraseek doctor` says where). TERRASEEK_ALLOW_HOSTS names hosts, separated by commas, "
    "that `archive add` may read from.",
)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(archive.app, name="archive")
for command in (demo.demo, doctor.doctor, train.train, evaluate.evaluate, evaluate.compare, search.search):
    app.command(no_args_is_help=command not in (demo.demo, doctor.doctor))(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        stdout.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is being done, on stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find things in archives of satellite and aerial imagery: by example, by text, by labels, by place."""
    # Lance writes its own notices to stderr, of tables that it is about to make and the like.
    os.environ.setdefault("LANCE_LOG", "error")
    handler = LogHandler(verbose=verbose)
    # What GDAL and Pillow have to say about a damaged file is in the reason why it is refused.
    levels = {"terraseek": logging.WARNING, "rasterio": logging.CRITICAL, "PIL": logging.CRITICAL}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if verbose else level)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; an error raised on purpose becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 must not end a command halfway
            stream.reconfigure(errors="backslashreplace")
    try:
        result = app(args=arguments, standalone_mode=False)
    except TerraseekError as error:
        complain(str(error))
        return exit_code(error)
    except _UsageError as error:
        error.message = printable(error.message)
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        result = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is wrong, and Python must not complain while closing stdout.
        sys.stderr.close()
        return 0
    except OSError as error:  # a path that cannot be written, a full disk: the system's own words say enough
        complain(str(error))
        return 1
    except MemoryError as error:
        complain(f"not enough memory: {error}" if str(error) else "not enough memory")
        return 1
    if result == EXIT_INTERRUPTED:  # typer answers Ctrl-C inside a command with this code
        stderr.print("interrupted; what was committed stays, run the same command again to go on")
    return result if isinstance(result, int) else 0
