"""`mooring-runtime sessions`: look at sessions and change them, at a server or on a volume that no server has open.

`arguments` reads the command line, `api` asks a server, `volume` reads a volume, `commands` does what was asked, and
`shown` writes it for people. Nothing here belongs to the server: it reads no settings but the token.
"""

from mooring_runtime.session_cli.commands import main

__all__ = ["main"]
