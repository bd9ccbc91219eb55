"""Two releases with two formats of the state: a rolling upgrade loses nothing, and the way back is refused clearly."""

import time
from pathlib import Path

import pytest
from support.load import produce_calls, producing
from support.worker import Setup, Worker, check_exactly_once, run_until_caught_up, wait_for, wait_until_done

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

NEXT_RELEASE = """
import msgspec
from streams.calls import closed, ledger, partition
ledger.STATE_VERSION = partition.STATE_VERSION = 2
ledger.READABLE = partition.READABLE = frozenset({1, 2})
encode, decode = partition.encode_state, partition.decode_state
def encode_2(state):  # a further field, where this release has another one
    first, *fields = msgspec.msgpack.decode(encode(state))
    return msgspec.msgpack.encode([first, "of version 2", *fields])
def decode_either(packed):
    first, second, *fields = msgspec.msgpack.decode(packed)
    fields = fields if second == "of version 2" else [second, *fields]
    return decode(msgspec.msgpack.encode([first, *fields]))
partition.encode_state, partition.decode_state, closed.decode_state = encode_2, decode_either, decode_either
"""


def at_work(worker: Worker) -> bool:
    return bool(worker.assignments())


def test_a_rolling_upgrade_and_the_way_back(kafka: str, tmp_path: Path, seed: int) -> None:
    setup = Setup(kafka)
    setup.create()
    log, one, two = tmp_path / "log", {"INSTANCE_ID": "one"}, {"INSTANCE_ID": "two"}
    produce_calls(kafka, setup.calls, 1_000, seed)
    run_until_caught_up(setup, log)
    with producing(kafka, setup.calls, 2_000, seed + 1, seconds=8) as sending:
        with Worker(setup, log, env=one) as old, Worker(setup, tmp_path / "other", env=two) as other:
            wait_for("both are at work", lambda: at_work(old) and at_work(other))
            assert other.terminate() == 0
            with Worker(setup, tmp_path / "log-2", env=two, before=NEXT_RELEASE) as second:
                wait_for("both releases are at work", lambda: at_work(second))
                time.sleep(2)
                assert old.terminate() == 0
                with Worker(setup, tmp_path / "log-1", env=one, before=NEXT_RELEASE) as first:
                    wait_until_done(setup, sending)
                    assert first.terminate() == second.terminate() == 0
    check_exactly_once(setup)
    produce_calls(kafka, setup.calls, 200, seed + 2)
    before = setup.committed()
    with Worker(setup, log, "--until-caught-up") as old:
        assert old.ends(60) == 1
        last = old.said().strip().splitlines()[-1]
        assert last.startswith("error: the state in partition ")
        assert "this release knows 1" in last or "of version 2" in last or "Expected" in last
        assert "run the release that has written it" in last
    assert setup.committed() == before
    with Worker(setup, log, "--until-caught-up", before=NEXT_RELEASE) as new:
        new.finish()
    check_exactly_once(setup)
