"""What docs/stateful.md says of the status is what the operator says there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TABLE = re.compile(r"^\| `(\w+)` \| (.*) \|.*\|$", re.MULTILINE)


def test_every_documented_reason_is_given() -> None:
    rows = dict(_TABLE.findall((ROOT / "docs/stateful.md").read_text()))
    assert rows.keys() == {"RouterReady", "AtRisk", "SessionsStranded", "Reconciling", "Stalled"}
    sources = "\n".join(path.read_text() for path in (ROOT / "operator/mooring_operator").rglob("*.py"))
    reasons = {reason for told in rows.values() for reason in re.findall(r"`(\w+)`", told)}
    assert {reason for reason in reasons if f'"{reason}"' not in sources} == set()
