"""An OpenAPI document, and what it says of an answer."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jsonschema
import orjson
import yaml

from mooring_runtime.frontends.http.messages import Reply


class Document:
    """Of version 3.1, whose schemas are JSON Schema."""

    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.safe_load(path.read_text())
        self.paths: dict[str, dict[str, Any]] = self.document["paths"]
        self.seen: set[tuple[str, str, str]] = set()
        """Path, method and response of every answer that was checked."""

    def operation(self, method: str, target: str) -> tuple[str, dict[str, Any]]:
        """The pattern and what the document says of a request."""
        path = target.partition("?")[0]
        # A fixed path goes before one with a name in it.
        for pattern in sorted(self.paths, key=lambda each: each.count("{")):
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) and method.lower() in self.paths[pattern]:
                found: dict[str, Any] = self.paths[pattern][method.lower()]
                return pattern, found
        raise AssertionError(f"{method} {path} is not in the document")

    def parameters(self, method: str, target: str) -> set[str]:
        """The parameters of the query."""
        pattern, operation = self.operation(method, target)
        every = [*self.paths[pattern].get("parameters", ()), *operation.get("parameters", ())]
        return {each["name"] for each in map(self._resolved, every) if each["in"] == "query"}

    def check(self, method: str, target: str, reply: Reply) -> None:
        """Raise unless the document says that a request is answered so."""
        pattern, operation = self.operation(method, target)
        word = str(reply.status) if str(reply.status) in operation["responses"] else "default"
        if reply.status < 400:
            assert word != "default", f"{method} {pattern} is not to answer {reply.status}"
            extra = {name for name, _ in parse_qsl(target.partition("?")[2])} - self.parameters(method, target)
            assert not extra, f"{method} {pattern} takes {extra}"
        self.seen.add((pattern, method, word))
        contents = self._resolved(operation["responses"][word])["content"]
        content = contents[reply.content_type.decode()]
        if "schema" in content:
            schema = {**content["schema"], "components": self.document["components"]}
            jsonschema.Draft202012Validator(
                schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
            ).validate(orjson.loads(b"".join(reply.body)))

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in value:
            return value
        found: Any = self.document
        for word in value["$ref"].removeprefix("#/").split("/"):
            found = found[word]
        assert isinstance(found, dict)
        return found
