"""The CRD that is made of the models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from mooring_operator.api import crd, names
from mooring_operator.api.fields import Cpu, Int, Labels, ListMap, Minutes
from mooring_operator.api.rules import VALIDATIONS, ApiModel, Rule

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[1] / "golden" / "crd-small.yaml"


class Part(ApiModel):
    """A part."""

    name: str
    """Name of the part."""
    count: Int = 1
    """How many."""
    note: str | None = None
    """A note."""


class Empty(ApiModel):
    """Nothing is set by default."""

    note: str | None = None
    """A note."""


class Small(ApiModel):
    """One field of each form."""

    part: Part
    """A required object, in its own words."""
    other_part: Annotated[Part, Rule("self.count > 0", "some", lambda part: part.count > 0)] = Part(name="x")
    """An object with a default."""
    empty: Empty = Empty()
    """An object whose default says nothing."""
    maybe: Part | None = None
    """An optional object."""
    mode: Literal["a", "b"] = "a"
    """One of several."""
    only: Literal["c"] | None = None
    """The only one."""
    level: Literal[90, 95] = 95
    """One of several numbers."""
    cpu: Cpu = "1"
    """An integer or a string."""
    time: Minutes | None = None
    """A duration."""
    labels: Labels | None = None
    """A map."""
    words: Annotated[list[Annotated[str, Field(max_length=5)]], Field(max_length=3)] | None = None
    """A list."""
    parts: Annotated[list[Part], Field(max_length=3), ListMap("name")] | None = None
    """A list of objects."""

    RULES = (Rule("has(self.maybe)", "set it", lambda small: small.maybe is not None, ".maybe"),)


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema below `node` with its path."""
    yield path, node
    for name, item in node.get("properties", {}).items():
        yield from nodes(item, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            yield from nodes(node[keyword], f"{path}[*]")


def test_small_model(update_golden: bool) -> None:
    unshared = json.loads(json.dumps(crd.structural(Small)))
    text = yaml.safe_dump(unshared, sort_keys=False, width=120)
    if update_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_written_definition_is_the_generated_one() -> None:
    assert (ROOT / "crds" / "inferenceservices.yaml").read_text() == crd.render(), "run `make crds`"


def test_written_template_is_the_generated_one() -> None:
    assert (ROOT / "charts" / "mooring" / "templates" / "crds.yaml").read_text() == crd.render_chart(), (
        "run `make crds`"
    )


def test_rendering_is_the_definition_and_always_the_same() -> None:
    rendered = crd.render()
    assert yaml.safe_load(rendered) == crd.definition()
    assert rendered == crd.render()
    assert "id001" not in rendered, "anchors"


def test_chart_escapes_braces() -> None:
    rendered = crd.template({"metadata": {"name": "x"}, "spec": {"description": "write {{ this }}"}})
    assert 'write {{ "{{" }} this }}' in rendered
    assert "helm.sh/resource-policy: keep" in rendered
    assert rendered.splitlines()[1] == "{{- if .Values.crds.install }}"
    assert rendered.endswith("{{- end }}\n")


def test_definition_is_small() -> None:
    # Half of what client-side apply can write into its annotation.
    assert len(json.dumps(crd.definition())) < 128 * 1024


def test_no_service_is_taken_by_delete_all() -> None:
    assert crd.definition()["spec"]["names"]["categories"] == [*names.CATEGORIES]
    assert "all" not in names.CATEGORIES


@pytest.mark.parametrize(
    ("path", "node"), list(nodes(crd.schema())), ids=lambda value: value if isinstance(value, str) else ""
)
def test_node_is_structural(path: str, node: dict[str, Any]) -> None:
    if not node.get("x-kubernetes-int-or-string"):
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}
    assert not node.keys() & {"$ref", "anyOf", "const", "title", "nullable", "pattern"}
    if node.get("type") == "array":
        assert node["x-kubernetes-list-type"] in {"atomic", "map"}
        assert node["maxItems"] > 0
    if "additionalProperties" in node:
        assert node["maxProperties"] > 0


@pytest.mark.parametrize(
    "rule", [rule for _, node in nodes(crd.schema()) for rule in node.get(VALIDATIONS, [])], ids=str
)
def test_rule_says_what_to_do(rule: dict[str, str]) -> None:
    assert 10 < len(rule["message"]) < 200
    assert "\n" not in rule["rule"]


def test_schema_of_a_status_has_no_rules() -> None:
    status = crd.schema()["properties"]["status"]
    assert [path for path, node in nodes(status) if VALIDATIONS in node] == []


class FreeForm(BaseModel):
    anything: dict[str, Any]


class Union(BaseModel):
    either: int | str


class Bounded(BaseModel):
    above: Annotated[int, Field(gt=0)]


class Untyped(BaseModel):
    anything: Any


class Patterned(BaseModel):
    keys: dict[Annotated[str, Field(pattern="^a")], str]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FreeForm, "FreeForm.anything: free-form objects are not allowed, name the fields"),
        (Union, "Union.either: a field has one type, found 2"),
        (Bounded, "Bounded.above: a structural schema cannot say exclusiveMinimum"),
        (Untyped, "Untyped.anything: a structural schema needs one type, found none"),
        (Patterned, "Patterned.keys: a structural schema cannot say patternProperties"),
    ],
)
def test_what_cannot_be_said_is_refused(model: type[BaseModel], message: str) -> None:
    with pytest.raises(crd.UntranslatableError) as caught:
        crd.structural(model)
    assert str(caught.value) == message
