"""The rights that docs/security.md lists are enough, with deny by default; each is needed, and named when missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.kafka import create_topics, grow, read_topic
from support.load import produce_calls
from support.secured import Rule, Secured, login
from support.worker import Setup, Worker, check_exactly_once, wait_for, wait_until_done

from streams.cli import main
from streams.operations.simulation import Mix

pytestmark = pytest.mark.kafka

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
ROW = re.compile(r"^\| (topic|group|transactional-id) \| `(\S+)` \| ([\w, ]+) \|", re.MULTILINE)
CALLS = 200


def rights(heading: str, setup: Setup) -> list[Rule]:
    """What a section of the document lists, with the setup's names."""
    section = DOCUMENT.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    env = setup.env()

    def named(name: str) -> str:
        return re.sub("[A-Z]+(_[A-Z]+)*", lambda found: env[f"TELEFONIE_{found[0]}"], name)

    rules = [Rule(kind, named(name), tuple(said.split(", "))) for kind, name, said in ROW.findall(section)]
    assert rules, heading
    return rules


class Scene:
    """Topics of its own, and workers who log in with a password over TLS or with a certificate."""

    def __init__(self, secured: Secured, settings: dict[str, str] | None = None) -> None:
        self.secured = secured
        self.setup = Setup(secured.brokers, partitions=2, settings=settings or {})

    def as_user(self, user: str, **more: str) -> Setup:
        """The setup of a user; one without a password has a certificate."""
        if user == "client":
            given = self.secured.settings("SSL", **self.secured.shown("client"))
        else:
            given = self.secured.settings("SASL_SSL", **login(user))
        return replace(self.setup, settings={**self.setup.settings, **given, "PARTITIONS": "2", **more})

    def run(self, user: str, *command: str) -> Result:
        """A command, as that user."""
        return CliRunner().invoke(main, command, env=self.as_user(user).env())

    def allow(self, user: str, heading: str) -> None:
        """Give a user what a section of the document lists."""
        self.secured.allow(user, *rights(heading, self.setup))


@pytest.fixture
def scene(secured: Secured) -> Scene:
    return Scene(secured)


def test_everything_runs_with_exactly_these_rights(scene: Scene, tmp_path: Path) -> None:
    """From making the topics over a killed worker to sending dead letters back."""
    for who, heading in {
        "maker": "Making and checking topics",
        "worker": "A worker",
        "looker": "Looking",
        "redriver": "Sending dead letters back",
        "producer": "Producers",
    }.items():
        scene.allow(who, heading)
    made = scene.run("maker", "topics", "create")
    assert made.exit_code == 0, made.stderr
    sent = scene.run("producer", "simulate", "--calls", str(CALLS), "--rate", "0", "--invalid", "0.1")
    assert sent.exit_code == 0, sent.stderr
    ours = scene.as_user("worker", INSTANCE_ID="worker-0", SESSION_TIMEOUT="3s")
    log = tmp_path / "log"
    with Worker(ours, log) as worker:
        wait_for("something is committed", lambda: scene.setup.committed() > 0)
        worker.kill()
    produce_calls(scene.secured.brokers, scene.setup.calls, CALLS, seed=2, mix=Mix(0.1, 0.1, 0.1, 0.1))
    with Worker(ours, log) as worker:
        wait_until_done(scene.setup)
        assert worker.terminate() == 0
    expected = check_exactly_once(scene.setup)
    assert expected.dead
    looked = {
        "status": scene.run("looker", "status"),
        "completed tail": scene.run("looker", "completed", "tail"),
        "dead list": scene.run("looker", "dead", "list"),
        "replay": scene.run("looker", "replay", "--compare"),
    }
    assert {name: (each.exit_code, each.stderr) for name, each in looked.items() if each.exit_code} == {}
    redriven = scene.run("redriver", "dead", "redrive", "--all", "--limit", "3")
    assert redriven.exit_code == 0, redriven.stderr
    notes = read_topic(scene.secured.brokers, f"{scene.setup.topic('dead')}-redriven")
    assert len(notes) == 3
    again = scene.run("looker", "dead", "list")
    assert again.exit_code == 0, again.stderr


def test_with_repartition_there_are_two_topics_more(secured: Secured, tmp_path: Path) -> None:
    scene = Scene(secured, {"REPARTITION": "true"})
    more = rights("With repartition", scene.setup)
    for who, heading, operations in (
        ("maker", "Making and checking topics", ("Create", "Describe", "DescribeConfigs")),
        ("worker", "A worker", ()),
        ("looker", "Looking", ("Read",)),
    ):
        theirs = [replace(rule, operations=operations or rule.operations) for rule in more]
        secured.allow(who, *rights(heading, scene.setup), *theirs)
    made = scene.run("maker", "topics", "create")
    assert made.exit_code == 0, made.stderr
    produce_calls(secured.brokers, scene.setup.calls, CALLS, seed=1, mix=Mix(0.1, 0.1, 0.1, 0.1))
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        wait_until_done(scene.setup)
        assert worker.terminate() == 0
    check_exactly_once(scene.setup)
    for command in (["status"], ["completed", "tail"], ["dead", "list"], ["replay", "--compare"]):
        looked = scene.run("looker", *command)
        assert looked.exit_code == 0, looked.stderr


def test_a_certificate_is_a_user_too(scene: Scene, tmp_path: Path) -> None:
    """A whole run with mutual TLS."""
    scene.setup.create()
    scene.setup.create_changelog()
    scene.allow("client", "A worker")
    produce_calls(scene.secured.brokers, scene.setup.calls, CALLS, seed=1)
    with Worker(scene.as_user("client"), tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()
    check_exactly_once(scene.setup)


def test_nobody_may_do_anything_by_default(scene: Scene) -> None:
    scene.setup.create()
    scene.secured.allow("looker")
    refused = scene.run("looker", "topics", "check")
    assert refused.exit_code == 1
    assert (
        refused.stdout.count("is missing: run `telefonie topics create` (or this user lacks every ACL on it)")
        == 4
    )


Without = Callable[[Setup], str]
MISSING: dict[str, tuple[Without, str]] = {
    "calls": (lambda s: s.calls, "the ACL Read on the topic {}"),
    "completed": (lambda s: s.topic("completed"), "the ACL Write on the topic {}"),
    "kpis": (lambda s: s.topic("kpis"), "the ACL Write on the topic {}"),
    "dead": (lambda s: s.topic("dead"), "the ACL Write on the topic {}"),
    "changelog": (lambda s: f"{s.group}-calls-changelog", "the ACL Write on the topic {}"),
    "group": (lambda s: s.group, "the ACL Read on the group {}"),
    "transactional-id": (lambda s: f"{s.group}-*", "the ACL Write on the transactional id {}"),
}


@pytest.mark.parametrize(
    "without",
    [pytest.param(each, marks=pytest.mark.slow if each in ("kpis", "dead") else ()) for each in MISSING],
)
def test_each_right_of_a_worker_is_needed(scene: Scene, tmp_path: Path, without: str) -> None:
    """Only Describe is left of it, by which the resource is known."""
    scene.setup.create()
    scene.setup.create_changelog()
    names, said = MISSING[without]
    name = names(scene.setup)
    rules = rights("A worker", scene.setup)
    assert name in {rule.name for rule in rules}
    scene.secured.allow(
        "worker", *(replace(rule, operations=("Describe",)) if rule.name == name else rule for rule in rules)
    )
    produce_calls(scene.secured.brokers, scene.setup.calls, CALLS, seed=1, mix=Mix(0, 0, 0.1, 0))
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        assert worker.ends(90) == 1
        log = worker.said()
    last = log.splitlines()[-1]
    assert last.startswith(f"error: the brokers refuse this user: {said.format(name.removesuffix('*'))}")
    assert last.endswith(" is missing")
    assert "Traceback" not in log
    assert "hush" not in log


@pytest.mark.slow
def test_the_state_may_be_made_with_the_first_worker(scene: Scene, tmp_path: Path) -> None:
    scene.setup.create()
    scene.allow("worker", "A worker")
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        assert worker.ends(90) == 1
        assert worker.said().endswith("cannot be created: the ACL Create on it is missing\n")
    create = Rule("topic", f"{scene.setup.group}-calls-changelog", ("Create",))
    scene.secured.allow("worker", *rights("A worker", scene.setup), create)
    with Worker(scene.as_user("worker"), tmp_path / "log", "--until-caught-up") as worker:
        worker.finish()


def test_a_page_names_the_right_that_it_lacks(scene: Scene, tmp_path: Path) -> None:
    scene.setup.create()
    scene.setup.create_changelog()
    create_topics(scene.secured.brokers, f"{scene.setup.topic('dead')}-redriven", partitions=1)
    scene.allow("worker", "A worker")
    produce_calls(scene.secured.brokers, scene.setup.calls, CALLS, seed=1, mix=Mix(0, 0, 0.1, 0))
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        wait_until_done(scene.setup)
        for path, kind in (("/dead", "dead"), ("/completed/one", "completed")):
            status, problem = worker.asked(path)
            topic = scene.setup.topic(kind)
            assert (status, problem["detail"]) == (
                503,
                f"topic {topic} could not be read: the brokers refuse this user: the ACL Read on the topic "
                f"{topic} is missing",
            )
    more = rights("Looking into topics from the browser", scene.setup)
    scene.secured.allow("worker", *rights("A worker", scene.setup), *more)
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        wait_for("it is ready", lambda: "HTTP is at" in worker.said() and worker.get("/ready") == 200)
        letter = worker.asked("/dead?limit=1")[1]["letters"][0]
        assert worker.asked(f"/dead/{letter['partition']}:{letter['offset']}")[0] == 200


def test_a_right_that_is_taken_away(scene: Scene, tmp_path: Path) -> None:
    scene.setup.create()
    create = Rule("topic", f"{scene.setup.group}-calls-changelog", ("Create",))
    rules = [*rights("A worker", scene.setup), create]
    scene.secured.allow("worker", *rules)
    with Worker(scene.as_user("worker"), tmp_path / "log") as worker:
        wait_for("partitions are assigned", worker.assignments)
        scene.secured.allow("worker", *(rule for rule in rules if rule.resource != "group"))
        assert worker.ends(90) == 1
        assert "the ACL Read on the group" in worker.said().splitlines()[-1]


def test_changing_topics_needs_rights_of_its_own(scene: Scene) -> None:
    brokers, dead = scene.secured.brokers, scene.setup.topic("dead")
    create_topics(brokers, dead, partitions=2, config={"compression.type": "uncompressed"})
    made = rights("Making and checking topics", scene.setup)
    scene.secured.allow("maker", *made)
    assert scene.run("maker", "topics", "create").exit_code == 0
    grow(brokers, scene.setup.calls, 3)
    for command, operation, said in (
        ("create", "Alter", "cannot get 3 partitions: the ACL Alter on it is missing"),
        ("alter", "AlterConfigs", "cannot be changed: the ACL AlterConfigs on it is missing"),
    ):
        refused = scene.run("maker", "topics", command)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("error: topic ")
        assert said in refused.stderr
        made = [replace(rule, operations=(*rule.operations, operation)) for rule in made]
        scene.secured.allow("maker", *made)
        done = scene.run("maker", "topics", command)
        assert (done.exit_code, done.stderr.count("error")) == (0, 0)
    assert scene.run("maker", "topics", "check").stdout.count("ok ") == 6
