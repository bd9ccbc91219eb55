"""Two workers with the same INSTANCE_ID, by a copied manifest or one that was scaled: one ends and says why."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from support.load import produce_calls, producing
from support.worker import Setup, Worker, check_exactly_once, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


@pytest.mark.parametrize("seconds", [0, 10], ids=["quiet", "under traffic"])
def test_the_one_whose_place_was_taken_ends_and_the_other_goes_on(
    kafka: str, tmp_path: Path, seed: int, seconds: int
) -> None:
    setup = Setup(kafka, settings={"INSTANCE_ID": "worker-0"})
    setup.create()
    with ExitStack() as running:
        sending = None
        if seconds:
            sending = running.enter_context(producing(kafka, setup.calls, 2_000, seed, seconds))
        first = running.enter_context(Worker(setup, tmp_path / "first"))
        wait_for("the first has all", lambda: first.assignments() == [[0, 1, 2, 3]])
        second = running.enter_context(Worker(setup, tmp_path / "second"))
        assert first.ends(30) == 1
        last = first.said().splitlines()[-1]
        assert last.startswith(f"error: group {setup.group}, member worker-0, which is now at http://")
        assert "another worker has joined the group with the same TELEFONIE_INSTANCE_ID" in last
        assert "Give each worker a TELEFONIE_INSTANCE_ID of its own" in last
        assert "Traceback" not in first.said()
        assert "never retrieved" not in first.said()
        produce_calls(kafka, setup.calls, 100, seed + 1)
        wait_until_done(setup, sending)
        assert [0, 1, 2, 3] in second.assignments()
        assert second.terminate() == 0
    check_exactly_once(setup)
