"""The names of `pandas` that TRL's modules mention while they are imported; nothing uses them here."""

__version__ = "2.2.0"


class DataFrame:
    """A table that is never made."""


class Series:
    """A column that is never made."""
