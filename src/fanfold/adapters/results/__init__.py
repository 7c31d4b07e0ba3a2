"""Result stores."""

from fanfold.adapters.results.fsspec_store import FsspecStore as FsspecStore
