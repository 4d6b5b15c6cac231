import yaml

from mooring_operator import desired
from tests.support import golden


def test_files_are_shown_line_by_line_and_nothing_is_changed() -> None:
    children = golden.case("stateful").children()
    written = desired.text(children)
    assert list(yaml.safe_load_all(written)) == children
    assert '\n  lds.json: |\n    {\n     "resources": [\n' in written
    assert "&id" not in written
