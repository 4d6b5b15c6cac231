"""What is said in Events, and what is left out."""

from mooring_operator.cluster.events import BURST, REFILL, SAME, WAITING, Restraint


def test_nothing_is_said_twice_within_a_while() -> None:
    restraint = Restraint()
    assert restraint.allows("1", "Ready", "serves", 0.0)
    assert not restraint.allows("1", "Ready", "serves", SAME - 1)
    assert restraint.allows("1", "Ready", "serves", SAME)
    assert restraint.allows("1", "Ready", "serves elsewhere", SAME)
    assert restraint.allows("2", "Ready", "serves", SAME)


def test_one_service_cannot_flood() -> None:
    restraint = Restraint()
    said = [restraint.allows("1", "Failed", f"attempt {number}", 0.0) for number in range(2 * BURST)]
    assert sum(said) == BURST
    assert restraint.allows("2", "Failed", "attempt 0", 0.0)
    assert restraint.allows("1", "Failed", "later", REFILL)
    assert not restraint.allows("1", "Failed", "and again", REFILL)


def test_memory_is_bounded() -> None:
    restraint = Restraint()
    for number in range(10 * WAITING):
        assert restraint.allows(str(number), "Ready", "serves", float(number * BURST * REFILL))
    assert len(restraint._said) <= WAITING + 1
    assert len(restraint._budget) <= WAITING + 1
