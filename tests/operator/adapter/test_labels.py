import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring_operator.adapter.labels import LONGEST, SelectorError, parse

DEMO = {"mooring_service": "demo", "mooring_namespace": "team"}


def selects(text: str, labels: dict[str, str] = DEMO) -> bool:
    return all(requirement.matches(labels) for requirement in parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mooring_service=demo",
        "mooring_service==demo",
        " mooring_service = demo ",
        "mooring_service in (demo)",
        "mooring_service in (other, demo,third)",
        "mooring_service notin (other,third)",
        "mooring_service!=other",
        "mooring_service",
        "!absent",
        # As everywhere in Kubernetes: what is not there is not equal to anything.
        "absent!=demo",
        "absent notin (demo)",
        "mooring_service=demo,mooring_namespace in (team),!absent",
        "in notin (x)",
    ],
)
def test_what_selects_a_service(text: str) -> None:
    assert selects(text)


@pytest.mark.parametrize(
    "text",
    [
        "mooring_service=other",
        "mooring_service=",
        "mooring_service in (other,third)",
        "mooring_service notin (demo)",
        "mooring_service!=demo",
        "absent",
        "absent=demo",
        "absent in (demo)",
        "!mooring_service",
        "mooring_service=demo,mooring_namespace=other",
        # The chart's other name for the same thing is no label of a metric.
        "mooring.dev/inferenceservice=demo",
    ],
)
def test_what_does_not(text: str) -> None:
    assert not selects(text)


def test_an_empty_value_is_a_value() -> None:
    assert selects("a=", {"a": ""})
    assert selects("a in (,x)", {"a": ""})
    assert selects("a in (x,)", {"a": ""})
    assert not selects("a=", {"a": "x"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b=c", "'='"),
        ("a in b", "'b'"),
        ("a in (b", "its end"),
        ("a in ()", "')'"),
        ("a in (b))", "')'"),
        ("=b", "'='"),
        ("a,,b", "','"),
        ("a,", "its end"),
        (",a", "','"),
        ("!", "its end"),
        ("!a=b", "'='"),
        ("a b", "'b'"),
        ("-a=b", "'-a'"),
        ("a=-b", "'-b'"),
        ("a=ü", "'ü'"),
        (f"a={'b' * 64}", "'bbb"),
        ("A/b=c", "'A/b'"),
        ("a>1", "'>'"),
        ("a<1", "'<'"),
        ("a=)", "')'"),
    ],
)
def test_what_is_no_selector_is_refused_with_what_was_found(text: str, found: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert f"found {found}" in str(caught.value)


def test_a_selector_is_not_read_without_end() -> None:
    assert len(parse("a," * 1000 + "a")) == 1001
    with pytest.raises(SelectorError, match=f"at most {LONGEST}"):
        parse("a=" + "b" * LONGEST)


@given(st.text("ab=!,()<> innot-_./1", max_size=40))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except SelectorError:
        return
    for requirement in found:
        assert requirement.matches({requirement.key: next(iter(requirement.values), "")}) == (
            requirement.operator in {"in", "exists"}
        )
