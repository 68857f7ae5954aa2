"""The command line: one module per noun, each a translation of the Python calls and nothing more.

Data goes to stdout, progress and warnings to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found,
4 integrity, 5 partial, 130 interrupted.
"""

from .app import app, main

__all__ = ["app", "main"]
