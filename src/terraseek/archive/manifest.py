"""What an archive is made of: its format and the one model whose vectors it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import CorruptError, IntegrityError, ModelMismatchError, UsageError
from ..typing import Encoder

__all__ = ["FORMAT_VERSION", "Manifest", "ModelIdentity"]

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which model makes an archive's vectors.

    Attributes:
        fingerprint: sha256 over config and weights; vectors of one fingerprint are comparable, others are not.
        dim: number of dimensions D.
        name: for people; the model directory's name, say.
    """

    fingerprint: str
    dim: int
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.fingerprint, str) or not self.fingerprint:
            raise UsageError(f"a model's fingerprint is a non-empty text, not {self.fingerprint!r}")
        if not isinstance(self.dim, int) or not 1 <= self.dim <= 65536:
            raise UsageError(f"a model has 1 to 65536 dimensions, not {self.dim!r}")

    @classmethod
    def of(cls, model: Encoder | ModelIdentity) -> ModelIdentity:
        """The identity of an encoder; an identity is its own."""
        if isinstance(model, ModelIdentity):
            return model
        name = getattr(getattr(model, "config", None), "architecture", "")
        return cls(fingerprint=model.fingerprint, dim=int(model.dim), name=str(name))

    def check(self, model: Encoder | ModelIdentity, uri: str) -> None:
        """Refuse a model other than this one.

        Raises:
            ModelMismatchError: its fingerprint or its number of dimensions differs.
        """
        other = ModelIdentity.of(model)
        if (other.fingerprint, other.dim) != (self.fingerprint, self.dim):
            raise ModelMismatchError(
                f"{uri} holds vectors of the model {self.describe()}, not of {other.describe()}; "
                "use that model, or make a new archive with this one"
            )

    def describe(self) -> str:
        """Name, dimensions and the first 12 digits of the fingerprint, for messages."""
        return f"{self.name or 'unnamed'} ({self.dim} dims, {self.fingerprint[:12]})"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The metadata of the records table: written with the table, in the same commit, and never changed."""

    model: ModelIdentity
    format: int = FORMAT_VERSION

    def to_metadata(self) -> dict[str, str]:
        """As key and value of an Arrow schema."""
        return {"terraseek": json.dumps({"format": self.format, "model": asdict(self.model)}, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None, uri: str) -> Manifest:
        """Read back what `to_metadata` wrote.

        Raises:
            IntegrityError: no terraseek archive, or one in a format that this version does not know.
            CorruptError: it cannot be read.
        """
        text = (metadata or {}).get(b"terraseek")
        if text is None:
            raise IntegrityError(f"{uri} has a table of records that terraseek did not make")
        try:
            tree: dict[str, Any] = json.loads(text)
            version = tree["format"]
            if version != FORMAT_VERSION:
                raise IntegrityError(
                    f"{uri} is in archive format {version}, this terraseek reads format {FORMAT_VERSION}; "
                    "install the version that made it, export there and import here"
                )
            return cls(model=ModelIdentity(**tree["model"]), format=version)
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise CorruptError(f"the manifest of {uri} cannot be read: {error}") from None
