"""Model delivery: one file by `https://`, whole and with the right digest, or a reason why not.

`addresses` says where we do not go, `transport` makes one request, `store` keeps what is there, `download` puts them
together: resume, redirect, retry.
"""

from mooring_runtime.fetcher.download import Fetcher
from mooring_runtime.settings import FetchSettings

__all__ = ["Fetcher", "fetch"]


def fetch(settings: FetchSettings) -> None:
    """Put the model's file into its directory. Raises the FatalError that says why it cannot."""
    Fetcher(settings).fetch()
