"""What is made of the times of pulses and of the answers to twins."""

import json
from pathlib import Path

import pytest

from tests.bench import report
from tests.faults.history import Answer, Op, Seen, Step
from tests.faults.ledger import Page
from tests.faults.speech import SPEECH
from tests.faults.subject import LEDGER
from tests.support import e2e_moves
from tests.support.e2e_moves import ANSWER, PAUSE, Asked, Figures, goal_of
from tests.support.e2e_sessions import TWINS, Beat

MINTED = "1." + "a" * 26
PAGE = Page(1, (1, 1), 1, (0,) * 15 + (1,))


def beat(session: str, began: float, done: float, tries: int = 1) -> Beat:
    return Beat(session, 1, began, done, tries)


def begun(session: str, word: int, life: str | None) -> Op:
    seen = None if life is None else Seen(session, life, 1, False, PAGE)
    answer = Answer("refused", "exists") if seen is None else Answer("ok", seen=seen)
    return Op("client", Step(session, word, 1, start=True), answer, 1, 2)


def test_minted_sessions_move_only_from_ordinals_that_go_and_home() -> None:
    assert e2e_moves.moved({MINTED}, 2, 5) == set()
    assert e2e_moves.moved({MINTED}, 5, 1) == {MINTED}
    assert e2e_moves.moved({MINTED}, 1, 2) == {MINTED}
    assert e2e_moves.home(MINTED) == 1
    chosen = {str(number) for number in range(100)}
    grown = e2e_moves.moved(chosen, 2, 5)
    assert 40 < len(grown) < 80
    assert all(e2e_moves.owner(session, 5) >= 2 for session in grown)


def test_a_pause_is_the_longest_step_that_met_the_move() -> None:
    beats = [beat("a", 0, 9), beat("a", 10, 10.1), beat("a", 11, 11.4), beat("b", 10, 19), beat("a", 12.5, 13)]
    assert e2e_moves.pauses(beats, {"a"}, 10, 12) == [pytest.approx(0.4)]
    assert e2e_moves.pauses(beats, {"a"}, 8, 12) == [9]
    assert e2e_moves.otherwise(beats, [(10, 12)]) == [9, 0.5]


def test_the_first_answer_is_of_a_step_that_met_the_crash() -> None:
    there = next(str(number) for number in range(99) if e2e_moves.owner(str(number), 2) == 1)
    elsewhere = next(str(number) for number in range(99) if e2e_moves.owner(str(number), 2) == 0)
    on_its_way = beat(there, 9.99, 10.001)  # Answered by what was killed.
    beats = [on_its_way, beat(there, 9.9, 13, 4), beat(there, 14, 15), beat(elsewhere, 10.5, 10.6)]
    assert e2e_moves.first_answers(Asked(beats=beats), 1, 2, 10) == {there: 13}
    chosen = (str(number) for number in range(99))
    sound = next(each for each in chosen if [e2e_moves.owner(each, 2, one) for one in (LEDGER, SPEECH)] == [0, 1])
    assert e2e_moves.first_answers(Asked(SPEECH, beats=[beat(sound, 14, 15)]), 1, 2, 10) == {sound: 15}
    assert e2e_moves.moved({sound}, 2, 1, SPEECH) == {sound}


def test_twins_may_begin_a_session_once() -> None:
    once = [begun(f"{TWINS}1", 5, "life"), begun(f"{TWINS}1", 6, None), begun(f"{TWINS}1", 5, "life")]
    assert e2e_moves.made_twice(once) == []
    assert e2e_moves.twins(once) == 1
    assert len(e2e_moves.made_twice([*once, begun(f"{TWINS}1", 6, "another")])) == 1
    assert len(e2e_moves.made_twice([*once, begun(f"{TWINS}1", 6, "life")])) == 1
    assert e2e_moves.made_twice([begun("1", 5, "life"), begun("1", 6, "another")]) == []


def test_the_report_has_a_goal_each_and_a_row_for_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    figures = Figures()
    for seconds in (0.1, 0.3, 0.15):
        figures.add(goal_of(PAUSE, LEDGER), [0.01, seconds], "2 -> 5", seconds)
    figures.add(goal_of(ANSWER, SPEECH), [0.5], "replica 1", 0.5)
    figures.write()
    written = json.loads((tmp_path / "moves.json").read_text())
    told = {goal["name"]: (goal["value"], goal["unit"], goal["holds"]) for goal in written["goals"]}
    assert told == {
        f"{PAUSE}: the checker's model": (150, "ms", True),
        f"{PAUSE}: silero-vad": (None, "ms", False),
        f"{ANSWER}: the checker's model": (None, "ms", False),
        f"{ANSWER}: silero-vad": (None, "ms", False),
    }
    assert [cell["p99"] for cell in written["cells"]] == [100, 300, 150, 500]
    assert [cell["goal"].rpartition(": ")[2] for cell in written["cells"]].count("silero-vad") == 1
    assert capsys.readouterr().out.count("2 -> 5") == 3
