"""What a seed decides."""

from random import Random

from tests.faults import nemesis

KINDS = ((*nemesis.ALWAYS, "full"), (*nemesis.ALWAYS, *nemesis.MEMBERS, "full"))


def test_a_seed_gives_the_same_faults_again() -> None:
    first, second, other = (nemesis.schedule(Random(seed), 60, KINDS[1], 3) for seed in (7, 7, 8))
    assert first == second != other


def test_a_short_run_has_every_kind() -> None:
    for seed in range(200):
        for kinds in KINDS:
            faults = nemesis.schedule(Random(seed), 24, kinds, 1)
            assert {fault.kind for fault in faults} == set(kinds)
            assert max(fault.at for fault in faults) <= 24
