"""Where a model comes from: its URI by scheme, its format, its digest, its credentials."""

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from .fields import SUBDOMAIN, Int, Name, matches
from .rules import ApiModel, Rule

Format = Literal["onnx", "torchscript", "torch-export", "python"]
SHA256_PATTERN: Final = "^[a-f0-9]{64}$"

_PORT = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_HOST = f"[a-z0-9]([-a-z0-9.]*[a-z0-9])?{_PORT}"
_SEGMENT = "/([-A-Za-z0-9_.~+=,]|%[0-9A-Fa-f]{2})+"
URI_PATTERNS: Final = {
    "oci": f"^oci://{_HOST}(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?(@sha256:[a-f0-9]{{64}})?$",
    "pvc": f"^pvc://{SUBDOMAIN}(/[A-Za-z0-9_][-A-Za-z0-9_.]*)+$",
    "https": f"^https://{_HOST}({_SEGMENT})+([?][-A-Za-z0-9_.~%+=,&/:]*)?$",
    "s3": f"^s3://[a-z0-9][-a-z0-9.]+({_SEGMENT})+$",
    "gs": f"^gs://[a-z0-9][-a-z0-9._]+({_SEGMENT})+$",
    "hf": "^hf://[A-Za-z0-9][-A-Za-z0-9_.]*/[A-Za-z0-9][-A-Za-z0-9_.]*(@[A-Za-z0-9_.-]+)?(/[-A-Za-z0-9_.]+)*$",
}
_FORMS = {
    "oci": "oci://registry.example/repository@sha256:... in lower case, with nothing after the tag or digest",
    "pvc": "pvc://claim/path/of/the/file, with no '/' at its end",
    "https": "https://host/path/of/the/file, the host in lower case, blanks as %20 and no '/' at its end",
    "s3": "s3://bucket/path/of/the/file, with no '/' at its end",
    "gs": "gs://bucket/path/of/the/file, with no '/' at its end",
    "hf": "hf://organisation/repository@revision, with no '/' at its end",
}
_REGISTRY: Final = re.compile("oci://(localhost/|[^/]*[.:])")


def _form(scheme: str) -> Rule:
    """Return the rule of one scheme, so that a wrong URI is told the form of the scheme that it has."""
    pattern = re.compile(URI_PATTERNS[scheme])
    return Rule(
        f"!self.startsWith('{scheme}://') || self.matches('{URI_PATTERNS[scheme]}')",
        f"write {_FORMS[scheme]}",
        lambda value: not value.startswith(f"{scheme}://") or pattern.fullmatch(value) is not None,
    )


def _never(pattern: str, message: str) -> Rule:
    """Return the rule that no part of a string matches `pattern`."""
    compiled = re.compile(pattern)
    return Rule(f"!self.matches('{pattern}')", message, lambda value: compiled.search(value) is None)


Uri = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    Rule(
        f"self.matches('^({'|'.join(URI_PATTERNS)})://')",
        "begin with oci://, pvc:// or https:// in lower case (s3://, gs:// and hf:// come later)",
        lambda value: value.startswith(tuple(f"{scheme}://" for scheme in URI_PATTERNS)),
    ),
    _never(
        "^[a-z0-9]+://[^/?]*@",
        "must hold no user name or password: put them into a Secret and name it in model.credentials",
    ),
    # %2e and %2f: a store may decode them before it resolves the path.
    _never(
        "^[^?]*([.][.]|%2[eEfF]|%5[cC]|%0[0aAdD])", "must hold no '..', also encoded: name the file by its plain path"
    ),
    Rule(
        "!self.startsWith('oci://') || self.matches('^oci://(localhost/|[^/]*[.:])')",
        "name the registry by a host with a dot or a port, such as oci://registry.example/models/mine: a node takes a "
        "plain word for a folder of its default registry",
        lambda value: not value.startswith("oci://") or _REGISTRY.match(value) is not None,
    ),
    _form("oci"),
    _form("pvc"),
    _form("https"),
    _form("s3"),
    _form("gs"),
    _form("hf"),
]


class SecretReference(ApiModel):
    """A Secret of the service's own namespace."""

    secret_name: Name
    """Name of the Secret; its keys `token`, or `username` and `password`, are mounted for the fetcher only."""


class Model(ApiModel):
    """Where the model comes from and what it is."""

    uri: Uri
    """Where the model is: `oci://` (an image volume), `pvc://claim/path`, `https://`; s3, gs and hf come later."""
    format: Format | None = None
    """Format of the model's file; inferred from its name when left out."""
    sha256: (
        Annotated[
            str,
            Field(max_length=64),
            matches(SHA256_PATTERN, "write the 64 lower-case hexadecimal digits of the file's SHA-256"),
        ]
        | None
    ) = None
    """SHA-256 of the model's file, checked before the first byte is served. Required for `https://`."""
    credentials: SecretReference | None = None
    """Secret with the credentials of an `https://` store; mounted, never read by the operator."""
    warmup: Annotated[Int, Field(ge=0, le=1000)] | None = None
    """Number of runs before the server is ready, on zeros or on the requests that the model's own file names."""

    RULES = (
        Rule(
            "!self.uri.startsWith('https://') || has(self.sha256)",
            "an https:// model needs sha256: without it a restarted pod may serve another file",
            lambda model: not model.uri.startswith("https://") or model.sha256 is not None,
            ".sha256",
        ),
        Rule(
            "!has(self.credentials) || self.uri.startsWith('https://')",
            "credentials are for https:// models: oci:// uses pod.imagePullSecrets, pvc:// needs none",
            lambda model: model.credentials is None or model.uri.startswith("https://"),
            ".credentials",
        ),
    )
