from mooring_runtime.workers.restarts import FIRST, LAST, TRIES, Restarts


def test_each_end_before_ready_doubles_the_wait_up_to_a_bound() -> None:
    restarts = Restarts()
    waits = [restarts.ended() for _ in range(12)]
    assert waits[:3] == [FIRST, 2 * FIRST, 4 * FIRST]
    assert waits[-1] == LAST == max(waits)


def test_who_was_ready_begins_anew() -> None:
    restarts = Restarts()
    for _ in range(TRIES - 1):
        restarts.ended()
    assert not restarts.hopeless
    restarts.ready()
    assert restarts.ended() == FIRST
    for _ in range(TRIES - 1):
        restarts.ended()
    assert restarts.hopeless
