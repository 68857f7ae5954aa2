"""Checks of a recipe's values, with messages that name the key and the value."""

from __future__ import annotations

from ..errors import ConfigError

__all__ = ["at_least", "check"]


def check(condition: bool, message: str) -> None:
    """Raise a `ConfigError` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def at_least(section: object, **least: float) -> None:
    """Check that the section's values under these names are not below the numbers given."""
    for name, number in least.items():
        value = getattr(section, name)
        check(value >= number, f"{name} is {value}, it must be at least {number}")
