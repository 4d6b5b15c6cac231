"""What a request to /v2/sessions asks for, out of its path, its query and its JSON. Pure."""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from mooring_runtime.errors.sessions import BadSession
from mooring_runtime.frontends.http.answers import json_object
from mooring_runtime.frontends.http.messages import Head, Request
from mooring_runtime.frontends.http.router import Found
from mooring_runtime.frontends.shown import cut
from mooring_runtime.frontends.v2.sessions import NEW, named

LOCAL = "local"
"""The parameter of the query that keeps a request at this replica."""


class Asked(NamedTuple):
    """One request."""

    method: str
    session: str
    """The id in the path; empty where it has none."""
    word: str
    """What stands behind the id in the path."""
    parameters: dict[str, str]
    """Of the query, without LOCAL."""
    local: bool
    body: bytes

    def allow(self, *names: str) -> None:
        """Raise BadSession for a parameter that is none of these: a slip would else change what is asked for."""
        for name in self.parameters:
            if name not in names:
                told = f"there are {', '.join((*names, LOCAL))}" if names else f"there is only {LOCAL}"
                raise BadSession(f"there is no parameter '{cut(name)}' of this call, {told}")

    def document(self, *names: str) -> dict[str, Any]:
        """The JSON object in the body; none is an empty one. Raises InvalidRequest, and BadSession for other names."""
        document = json_object(Request(Head(b"POST", b"", {}), self.body))
        for name in document:
            if name not in names:
                raise BadSession(f"there is no field '{cut(name)}' of this call, there are {', '.join(names)}")
        return document


def asked(found: Found[Any], request: Request, word: str) -> Asked:
    """What a request asks for, whose path ends in `word`. Raises BadSession."""
    query = request.target.partition(b"?")[2]
    parameters: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise BadSession("the query of this address is not UTF-8, or has too many parameters") from None
    for name, value in pairs:
        if name in parameters:
            raise BadSession(f"parameter '{cut(name)}' stands in the address twice")
        parameters[name] = value
    local = parameters.pop(LOCAL, "false")
    if local not in ("true", "false"):
        raise BadSession(f"{LOCAL} is '{cut(local)}': it must be true or false")
    method = "GET" if request.method == b"HEAD" else request.method.decode()  # The body is left out elsewhere.
    return Asked(method, found.names.get("session", ""), word, parameters, local == "true", request.body)


def text_of(document: dict[str, Any], name: str) -> str | None:
    """A string of a JSON object; None: it is not there. Raises BadSession for anything else."""
    value = document.get(name)
    if value is not None and type(value) is not str:
        raise BadSession(f"{name} is {value!r:.100}: it must be a string")
    return value


def id_of(wanted: str | None) -> str | None:
    """The id that is asked for; None: a new one. Raises BadSession."""
    if wanted is None:
        return None
    call = named(wanted)
    if call is None:
        raise BadSession(f"the id '{wanted}' means no session; '{NEW}' asks for a new one")
    return None if call.new else call.id
