"""The command line: one module per noun, each a translation of the Python calls and nothing more.

Data goes to stdout, progress and warnings to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found,
4 integrity, 5 partial, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, see `terraseek.cli.app`.

    Ctrl-C ends it without a traceback from here on, as reading the modules of all commands takes a moment.
    """
    try:
        from .app import main as run

        return run(arguments)
    except KeyboardInterrupt:
        from ..errors import EXIT_INTERRUPTED

        return EXIT_INTERRUPTED
