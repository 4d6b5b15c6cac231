"""Bodies of the type multipart/form-data, as curl and requests send files. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mooring_runtime.errors import InvalidRequest

_NAME = re.compile(rb'(?:^|;)\s*name="?([^";]*)"?', re.IGNORECASE)


class Field(NamedTuple):
    """One field of a form."""

    name: str
    content_type: bytes
    """In lower case, without its parameters; empty where none was told."""
    content: bytes


def content_type(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The type in a Content-Type header, in lower case, and its parameters."""
    first, *others = header.split(b";")
    parameters = {}
    for each in others:
        key, _, value = each.partition(b"=")
        parameters[key.strip().lower()] = value.strip().strip(b'"')
    return first.strip().lower(), parameters


def fields(body: bytes, boundary: bytes) -> Iterator[Field]:
    """The fields of a form in their order. Raises InvalidRequest for a body that is no such form."""
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not boundary or len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidRequest("the body is no complete multipart/form-data with the boundary that Content-Type tells")
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        if not blank:
            raise InvalidRequest("a field of the form has no empty line between its headers and its content")
        headers = {}
        for line in head.split(b"\r\n"):
            key, _, value = line.partition(b":")
            headers[key.strip().lower()] = value.strip()
        name = _NAME.search(headers.get(b"content-disposition", b""))
        if name is None:
            raise InvalidRequest("a field of the form has no name in its Content-Disposition")
        yield Field(name[1].decode(errors="replace"), content_type(headers.get(b"content-type", b""))[0], content)
