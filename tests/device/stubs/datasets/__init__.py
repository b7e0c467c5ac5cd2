"""As much of the `datasets` package as TRL's GRPOTrainer touches when it is given a list of rows.

For machines where the package and its pyarrow cannot be installed: peers.py puts this folder on the
path only if there is no other.
"""

__version__ = "5.0.0"


class Dataset(list):
    """Rows that a data loader indexes."""

    cache_files = ()

    @classmethod
    def from_list(cls, rows):
        """The rows as they are."""
        return cls(rows)

    @property
    def column_names(self):
        """Names of the first row's values."""
        return list(self[0]) if self else []


class IterableDataset:
    """No row set is of this kind here."""


class DatasetDict(dict):
    """No row set is of this kind here."""


class IterableDatasetDict(dict):
    """No row set is of this kind here."""
