"""`python -m tests.faults`: rounds of faults against real servers for as long as is asked, each with a seed of its own.

    make soak                                         a minute, from a seed that is printed
    make soak ARGS="--seconds 3600 --seed 42"         an hour: seeds 42, 43, 44, ...
    make soak ARGS="--seed 57 --rounds 1"             the round of seed 57 again
    make soak ARGS="--check build/soak/57/history.jsonl"    the verdict on a history, anew

A round that fails keeps its folder: history, what the nemesis did, and the servers' logs.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults import history
from tests.faults.round import Plan, Result, clean, run
from tests.faults.speech import judged

FOLDER = Path(__file__).resolve().parents[2] / "build" / "soak"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds until the time is over, or one fails; return the exit status."""
    options = _options(arguments)
    if options.check is not None:
        verdict = judged(*history.read(options.check))
        sys.stdout.write(f"{verdict}\n")
        return 1 if verdict.violations else 0
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3))
    end, played = time.monotonic() + options.seconds, 0
    while played < options.rounds if options.rounds else played == 0 or time.monotonic() < end:
        now = seed + played
        replicas = options.replicas or _replicas(now)
        plan = Plan(
            now,
            min(options.round_seconds, options.seconds),
            replicas,
            durability=options.durability or _durability(now),
            lose=replicas > 1 and (_loses(now) if options.lose is None else options.lose),
        )
        if not _play(plan):
            return 1
        played += 1
    sys.stdout.write(f"{played} rounds without a violation, from seed {seed}\n")
    return 0


def _play(plan: Plan) -> bool:
    sys.stdout.write(f"seed {plan.seed}, replicas: {plan.replicas}, {plan.durability}; again: {plan.again}\n")
    sys.stdout.flush()
    folder = clean(FOLDER / str(plan.seed))
    result: Result | None = None
    try:
        result = run(plan, folder)
    finally:
        if result is None:
            sys.stdout.write(f"FAILED: the round broke off; see {folder}\n")
    sys.stdout.write(f"{result}\n")
    if result.failed:
        sys.stdout.write(f"FAILED: seed {plan.seed}; the history, the nemesis and the logs are in {folder}\n")
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _replicas(seed: int) -> int:
    """Servers that stand alone and services of three take turns."""
    return 1 if seed % 2 else 3


def _durability(seed: int) -> str:
    """Every second of each has steps whose replies go before their commits."""
    return "interval" if seed // 2 % 2 else "step"


def _loses(seed: int) -> bool:
    """Every second service loses volumes."""
    return seed // 4 % 2 == 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default: 60)")
    parser.add_argument("--seed", type=int, help="of the first round; those after it count on from it")
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds, however long they take")
    parser.add_argument("--round-seconds", type=float, default=25.0, help="seconds of faults in a round (default: 25)")
    parser.add_argument("--replicas", type=int, default=0, help="replicas in each round (default: by the seed)")
    parser.add_argument("--durability", choices=("step", "interval"), help="in each round (default: by the seed)")
    parser.add_argument("--lose", action=argparse.BooleanOptionalAction, help="volumes, too (default: by the seed)")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only judge this history")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
