import pytest

from tests.support import golden


@pytest.mark.parametrize("name", golden.case_names())
def test_children_of(name: str, update_golden: bool) -> None:
    case = golden.case(name)
    golden.compare(case.path("children.yaml"), golden.dump(case.children()), update_golden)


def test_cases_cover_what_a_step_may_say() -> None:
    steps = [golden.case(name).step for name in golden.case_names()]
    assert any(not step.surge for step in steps)
    assert any(step.hold and step.check for step in steps)
    assert any(step.hold and not step.check for step in steps)
    assert any(step.template for step in steps)
    assert any(step.replicas is None for step in steps)
