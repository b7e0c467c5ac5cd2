"""The names of `pyarrow` that TRL's modules mention while they are imported; nothing uses them here."""

__version__ = "21.0.0"


def __getattr__(name: str) -> type:
    """A type of any public name."""
    if name.startswith("_"):
        raise AttributeError(name)
    return type(name, (), {})
