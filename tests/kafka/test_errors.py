"""No Kafka error reaches a person in its raw form."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from unittest.mock import Mock

import aiokafka.errors
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner
from confluent_kafka import KafkaError as TheirError
from support.worker import Setup, Worker

import streams
from streams.cli import main
from streams.embedded import Cluster
from streams.engine.clock import Clock
from streams.engine.config import Config
from streams.engine.failures import about, unreached
from streams.engine.limits import Topics
from streams.engine.writer import Share, Writer
from streams.errors import OperatorError
from streams.kafka.credentials import client_options
from streams.kafka.errors import KafkaFailure, told
from streams.kafka.errors.__main__ import reference
from streams.kafka.errors.codes import NEWER
from streams.kafka.errors.meanings import OWN, TABLE
from streams.records import Output, Row
from streams.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"
#: Codes of Kafka's protocol; librdkafka names most of them.
CODES = range(-1, 134)


def classes() -> Iterator[type[BaseException]]:
    """All errors that aiokafka can raise, those too that it is given for codes it does not know."""
    found = {each for each in vars(aiokafka.errors).values() if inspect.isclass(each)}
    found |= set(aiokafka.errors.kafka_errors.values())
    yield from sorted((each for each in found if issubclass(each, Exception)), key=lambda each: each.__name__)


def modules() -> None:
    """Import all of `streams`, so that all its errors are known."""
    for module in pkgutil.walk_packages(streams.__path__, "streams."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def below(parent: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in parent.__subclasses__():
        yield child
        yield from below(child)


@pytest.mark.parametrize("error", list(classes()), ids=lambda each: each.__name__)
def test_each_error_of_kafka_says_what_it_means_and_what_to_do(error: type[BaseException]) -> None:
    assert error.__name__ in TABLE, "say what it means in streams/kafka/errors/meanings.py"
    raised = error()
    about(raised, "topic calls partition 3")
    line = str(told(raised))
    assert isinstance(told(raised), OperatorError)
    if error.__name__.find("Authorization") > 0 and TABLE[error.__name__].path == "rights":
        assert re.fullmatch(r"the brokers refuse this user: the ACL .* is missing", line)
        return
    assert line.startswith("topic calls partition 3: ")
    assert len(re.findall(r"\. [A-Z`_a-z]", line)) >= 2, "what it means for the data, and what to do"
    assert line.endswith(f"{error.__name__})")
    assert "\n" not in line


def test_every_code_of_the_protocol_has_a_class_of_its_own() -> None:
    for code in CODES:
        assert aiokafka.errors.for_code(code).errno == code


def test_the_codes_are_named_as_elsewhere() -> None:
    """As librdkafka names those that it knows: FENCED_INSTANCE_ID is FencedInstanceId."""
    for code, name in NEWER.items():
        theirs = TheirError(code).name()
        if not theirs.startswith("ERR_"):
            assert name.removesuffix("Error").upper() == theirs.replace("_", "").removesuffix("ERROR")


def test_errors_of_our_own_are_listed() -> None:
    modules()
    ours = {each.__name__ for each in below(OperatorError) if each.__module__.startswith("streams.")}
    assert ours == set(OWN), "list them in streams/kafka/errors/meanings.py"
    known = {each.__name__ for each in below(aiokafka.errors.KafkaError)}
    assert known <= set(TABLE)


def test_the_document_is_that_of_the_table() -> None:
    assert DOCUMENT.read_text() == reference(), "run: python -m streams.kafka.errors > docs/errors.md"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FencedInstanceId()", r"group g: another worker .* TELEFONIE_INSTANCE_ID\. .*82, FencedInstanceId\)"),
        ("Unexpected GroupMaxSizeReached()", r"group g: the group has .* group\.max\.size .*GroupMaxSizeReached\)"),
        ("GroupAuthorizationFailedError('g')", "the brokers refuse this user: the ACL Read on the group g is missing"),
        ("Unable to get cluster metadata over all known brokers", "group g: a broker cannot be reached at .*"),
        ("Control batch did not contain any records", "group g: the Kafka client was used, or has failed, .*"),
    ],
)  # fmt: skip
def test_an_error_of_no_kind_is_what_its_text_names(text: str, said: str) -> None:
    """aiokafka's coordinator makes such of others."""
    unreached.clear()
    error = aiokafka.errors.KafkaError(text)
    about(error, "group g")
    assert re.fullmatch(said, str(told(error)))


def test_an_error_of_no_kind_is_what_has_caused_it() -> None:
    """aiokafka's producer makes such of others."""
    error = aiokafka.errors.KafkaError("Unexpected error during batch delivery")
    error.__cause__ = aiokafka.errors.OffsetMetadataTooLargeError()
    about(error, "topic x")
    assert str(told(error)).startswith("topic x: the brokers do not accept the metadata of an offset. ")


def test_a_fact_is_said_once() -> None:
    error = aiokafka.errors.MessageSizeTooLargeError()
    for where in ("topic x partition 1", "topic x partition 1", "from offset 3"):
        about(error, where)
    assert str(told(error)) == (
        "topic x partition 1, from offset 3: a record is larger than its topic accepts (max.message.bytes). Nothing is "
        "lost: the next start continues from the last commit. Run `telefonie topics check`, which names the setting, "
        "and `telefonie topics alter`, which changes it (Kafka's error 10, MessageSizeTooLargeError)"
    )


def test_other_errors_stay_as_they_are() -> None:
    for error in (RuntimeError("a bug"), NotImplementedError("nobody has done it"), OperatorError("told")):
        assert told(error) is error
    too_old = NotImplementedError("Support for _MetadataRequest v5 has not yet been added")
    assert "Use Kafka 3.5 or later" in str(told(too_old))


class Refused(NamedTuple):
    """A checkpoint whose output no compacted topic takes: its record has no key."""

    outputs: Mapping[str, list[Output]] = MappingProxyType({"out": [(None, b"value", 1_700_000_000_000, [])]})
    rows: Sequence[Row] = ()
    stored: Sequence[Row] = ()
    partition_state: bytes = b""


@pytest.mark.kafka
def test_what_is_refused_names_its_topic(kafka: str, make_topic: Callable[..., str]) -> None:
    """An error that aiokafka has no class for, and no word of what it is about."""
    source, out, changelog = make_topic(), make_topic(config={"cleanup.policy": "compact"}), make_topic()
    config = Config(source, source, {"out": out}, changelog, Mock(), {"bootstrap_servers": kafka})

    async def write() -> None:
        writer = Writer(config, "one", Topics([]), Clock(config.wall_clock))
        await writer.start()
        try:
            await writer.write([Share(0, Refused(), b"position", 1, "note", "what comes of it")])
        finally:
            await writer.stop()

    with pytest.raises(aiokafka.errors.KafkaError) as refused:
        asyncio.run(write())
    line = str(told(refused.value))
    assert line.startswith(
        f"topic {out} partition 0, what comes of it: a topic refuses a record, as a compacted topic "
    )
    assert line.endswith("(Kafka's error 87, InvalidRecord)")


COMMANDS = {
    "topics check": ("topics", "check"),
    "status": ("status",),
    "dead list": ("dead", "list"),
    "completed get": ("completed", "get", "x"),
    "replay": ("replay", "--compare"),
    "simulate": ("simulate", "--calls", "1", "--rate", "0"),
    "worker": ("worker",),
    "calls open": ("calls", "open"),
}


@pytest.fixture(scope="module")
def lost_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that names an address which does not resolve."""
    told_address = {"advertised.listeners": "PLAINTEXT://kafka-1.example.invalid:9092"}
    with Cluster(tmp_path_factory.mktemp("kafka"), settings=told_address) as cluster:
        yield cluster.bootstrap()


@pytest.mark.kafka
@pytest.mark.parametrize("command", COMMANDS)
def test_an_advertised_address_that_does_not_resolve_is_named(lost_broker: str, command: str) -> None:
    env = {"TELEFONIE_BROKERS": lost_broker, "TELEFONIE_HTTP_PORT": "1"}
    result = CliRunner().invoke(main, COMMANDS[command], env=env)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "kafka-1.example.invalid:9092: " in last
    assert "advertised.listeners" in last


@pytest.mark.kafka
def test_an_address_is_forgotten_once_it_can_be_reached(own_broker: Callable[..., Cluster]) -> None:
    unreached.clear()
    cluster = own_broker()
    cluster.brokers[0].kill()

    async def ask() -> None:
        admin = AIOKafkaAdminClient(**client_options(Settings(brokers=cluster.bootstrap())))
        try:
            await admin.start()
        finally:
            await admin.close()

    with pytest.raises(aiokafka.errors.KafkaConnectionError):
        asyncio.run(ask())
    [(address, why)] = unreached.items()
    assert address == cluster.bootstrap()
    assert "refused" in why
    assert f"{address}: " in str(told(aiokafka.errors.NodeNotReadyError("1")))
    cluster.brokers[0].start()
    asyncio.run(ask())
    assert unreached == {}
    assert isinstance(told(aiokafka.errors.NodeNotReadyError("1")), KafkaFailure)


#: What brokers that are set up otherwise refuse of a worker, and what it then says.
REFUSED = {
    "group.max.session.timeout.ms=5000": "group {}: the brokers do not allow this TELEFONIE_SESSION_TIMEOUT. ",
    "transaction.max.timeout.ms=10000": "the brokers do not allow transactions of 30 s. ",
    "offset.metadata.max.bytes=4": "what comes of [^:]+: the brokers do not accept the metadata of an offset. ",
}


@pytest.mark.kafka
@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(each, marks=() if each.startswith("offset") else pytest.mark.slow, id=each.split("=")[0])
        for each in REFUSED
    ],
)
def test_what_brokers_refuse_of_a_worker(
    own_broker: Callable[..., Cluster], tmp_path: Path, setting: str
) -> None:
    """The last thing it says is one line, however aiokafka has wrapped the error."""
    name, value = setting.split("=")
    setup = Setup(own_broker(settings={name: value}).bootstrap(), partitions=1)
    setup.create()
    with Worker(setup, tmp_path / "log") as worker:
        assert worker.ends(60) == 1
        last = worker.said().splitlines()[-1]
    assert re.match("error: " + REFUSED[setting].format(setup.group), last), worker.said()[-3000:]
