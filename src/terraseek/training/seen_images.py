"""Which images a model was trained on: short hashes of their ids, kept with the model as one text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

__all__ = ["hash_ids", "seen_ids"]

_BYTES, _CHARACTERS = 6, 8  # 48 bits: of 10,000 strange ids beside 100,000 hashes, one in 280,000 times one is mistaken


def hash_ids(ids: Iterable[str]) -> str:
    """Eight characters of each id, sorted and joined: the same for the same ids in any order.

    >>> hash_ids(["river/river01", "beach/beach00"])
    '3fsLg3vI5snhnG5V'
    """
    return "".join(sorted(map(_hash, ids)))


def seen_ids(hashes: str, ids: Iterable[str]) -> list[str]:
    """Those of the ids that are among the hashed ones, in their order.

    >>> seen_ids(hash_ids(["river/river01", "beach/beach00"]), ["beach/beach01", "beach/beach00"])
    ['beach/beach00']
    """
    known = {hashes[start : start + _CHARACTERS] for start in range(0, len(hashes), _CHARACTERS)}
    return [name for name in ids if _hash(name) in known]


def _hash(name: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return base64.urlsafe_b64encode(digest[:_BYTES]).decode("ascii")
