"""How a value out of a request stands in an error message: no longer than a reader wants, whatever was sent. Pure."""

import reprlib

_LONGEST = 100
"""Characters."""


class _Short(reprlib.Repr):
    """`repr` that looks at the beginning of a value only: to write a whole list of millions would stop the server."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxlist = self.maxtuple = 16
        self.maxstring = self.maxother = self.maxlong = _LONGEST

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        return "{...}" if x else "{}"


_SHORT = _Short()


def shown(value: object) -> str:
    """As `repr`, cut to 100 characters."""
    return cut(_SHORT.repr(value))


def cut(text: str, longest: int = _LONGEST) -> str:
    """A name or a word that a client chose, cut to so many characters."""
    return text if len(text) <= longest else text[: longest - 3] + "..."
