"""Mooring, the runtime: the model server inside each pod.

The floors, highest first: `__main__` > `server`, `fetcher` > `frontends` > `dataplane` > `repository` > `scheduling`,
`backends` > `metrics` > `messages` > `errors` > `settings`. A lower floor never imports a higher one.
"""

__version__ = "0.1.0"
