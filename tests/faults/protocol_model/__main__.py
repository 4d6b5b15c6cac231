"""An explicit-state model of the protocol of sessions between replicas, and a checker for it.

    python -m tests.faults.protocol_model                    all scenarios, then every mutation: about a minute
    python -m tests.faults.protocol_model SCENARIO           one scenario
    python -m tests.faults.protocol_model SCENARIO MUTATION  the shortest run that fails

What is explored: every interleaving of one session's client, two or three replicas, and an operator that resizes.

- Network: a message once sent stays and may be handled never, late, again, in any order, at any time (loss, repetition,
  reordering). A client's request may reach any replica (a wrong router, a stale one, a forward and a retry all look
  like this).
- Crash: a replica may lose its memory between any two durable writes. A replica that is down is one that does nothing
  for a while.
- Operator: acts only on the record it has stored and on reports, which may be old. A crash of the operator is a pause.
- A replica may learn a membership record at any time, and may skip some.

One session is enough: sessions share nothing but the adopted record and the `clean` report, which waits for all of
them, so what a run with many sessions does to one of them is a run of this model with later reports. The simulation in
`tests/support/simulation` takes many, and the real classes.

Invariants, in every reachable world: at most one owner; each step is applied once, in order; what a client was told is
in the state of the owner (or, between owners, in a frozen copy); nobody answers 404 or creates while the session
exists; an ended session does not come back. Liveness: every run without further faults ends, and it ends with the
resize settled, the session at its place, all its steps acknowledged.

A volume may be lost with all that is on it, once, where the scenario says so; or a copy is found torn, and dropped by a
person some time later. The invariants then hold for the newest copy that is left, and the client is taken back to what
that knows.

Not in the model: full disks, interval durability, model versions. A message is dropped from the model
only once its receiver could no longer act on it.
"""

import sys
from concurrent.futures import ProcessPoolExecutor

from tests.faults.protocol_model.checker import Outcome, explore
from tests.faults.protocol_model.mutations import MUTATIONS
from tests.faults.protocol_model.world import SCENARIOS


def main(arguments: list[str]) -> int:
    """Explore what was asked for; the exit code."""
    if len(arguments) == 2:
        outcome = explore(*arguments)
        print("\n".join(f"{i:3} {label}" for i, label in enumerate(outcome.run, 1)))
        print(f"=> {outcome.violation or 'no violation'} ({outcome.states:,} states)")
        return 0
    names = arguments or sorted(SCENARIOS)
    wrong, total = 0, 0
    with ProcessPoolExecutor(max_workers=2) as pool:
        checks = {name: pool.submit(explore, name) for name in names}
        breaks = {} if arguments else {name: pool.submit(explore, at, name) for name, (_, at) in MUTATIONS.items()}
        print("the protocol as written")
        for name, future in checks.items():
            outcome = future.result()
            total += outcome.states
            wrong += bool(outcome.violation)
            print(f"  {name:22} {_numbers(outcome)}  {outcome.violation or 'holds'}", flush=True)
            print("".join(f"      {i:3} {label}\n" for i, label in enumerate(outcome.run, 1)), end="")
        print("broken on purpose")
        for name, future in breaks.items():
            outcome = future.result()
            wrong += not outcome.violation
            found = f"caught in {len(outcome.run)} steps: {outcome.violation}" if outcome.violation else "NOT CAUGHT"
            print(f"  {name:22} {_numbers(outcome)}  {found}", flush=True)
    print(f"{total:,} states; {f'{wrong} WRONG' if wrong else 'all as it should be'}")
    return int(bool(wrong))


def _numbers(outcome: Outcome) -> str:
    return f"{outcome.states:>9,} states {outcome.edges:>10,} steps {outcome.seconds:6.1f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
