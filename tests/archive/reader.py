"""A reader in a process of its own: what each look at an archive shows, until the writer says that it is done."""

from __future__ import annotations

import json
import sys
import time

from terraseek.archive import Archive
from terraseek.archive.view import View

LAST = "last"


def look(view: View) -> tuple[int, tuple[int, ...]]:
    """The version, and the generation of every record, asked in several steps."""
    return view.version, tuple(int(record.properties["generation"]) for record in view.get(view.ids()))


def main(uri: str, options: str) -> None:
    archive = Archive.open(uri, storage_options=json.loads(options) or None)
    done = False
    while not done:
        version, generations = archive.read(look)
        done = generations[0] < 0
        sys.stdout.write(json.dumps([version, sorted(set(generations)), len(generations)]) + "\n")
        sys.stdout.flush()
        time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
