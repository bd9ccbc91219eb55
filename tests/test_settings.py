"""Settings: what is accepted, and one clear line for everything that is not."""

import ssl
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from streams.kafka.credentials import client_options
from streams.settings import (
    FOREVER,
    TABLE,
    Settings,
    SettingsError,
    approximate_duration,
    format_duration,
    parse_duration,
)

SECRETS = {"API_TOKEN", "SASL_PASSWORD", "SSL_KEY"}


def load(**values: str) -> Settings:
    return Settings.load({f"TELEFONIE_{name}": value for name, value in values.items()})


def error(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_defaults_are_the_contract() -> None:
    settings = Settings.load({"PATH": "/bin", "TELEFONIEX": "other"})
    assert (settings.calls_topic, settings.dead_topic) == ("telefonie.calls", "telefonie.calls.dead")
    assert settings.changelog_topic == "telefonie-calls-calls-changelog"
    assert (settings.call_timeout, settings.call_retention) == (21_600_000, 86_400_000)
    assert (settings.max_clock_skew, settings.kpi_window, settings.session_timeout) == (
        300_000,
        60_000,
        10_000,
    )
    assert (settings.guarantee, settings.nulls, settings.store) == ("exactly_once", "reject", "memory")
    assert (settings.http_bind, settings.http_port, settings.repartition) == ("127.0.0.1", 6066, False)
    assert settings.brokers is settings.api_token is settings.instance_id is None


def test_the_defaults_in_the_table_are_those_of_an_empty_environment() -> None:
    settings = Settings.load({})
    for setting in TABLE:
        value = getattr(settings, setting.name.lower())
        if setting.default:
            assert setting.show(value) == setting.default
        elif setting.name != "COMMIT_INTERVAL":
            assert value is None


@pytest.mark.parametrize(("guarantee", "interval"), [("exactly_once", 100), ("at_least_once", 1000)])
def test_the_commit_interval_follows_the_guarantee_unless_set(guarantee: str, interval: int) -> None:
    assert load(GUARANTEE=guarantee).commit_interval == interval
    assert load(GUARANTEE=guarantee, COMMIT_INTERVAL="250ms").commit_interval == 250


def test_values_are_read_as_their_types() -> None:
    settings = load(
        BROKERS="kafka-1:9092, [::1]:9093", CALL_TIMEOUT="2h", HTTP_PORT="0", OUTPUT_RETENTION="forever",
        LOG_LEVEL="WARNING", REPARTITION="True",
    )  # fmt: skip
    assert settings.brokers == "kafka-1:9092,[::1]:9093"
    assert (settings.call_timeout, settings.http_port) == (7_200_000, 0)
    assert (settings.output_retention, settings.log_level, settings.repartition) == (
        FOREVER,
        "warning",
        True,
    )
    assert settings.source_topic == "telefonie-calls-repartition"
    assert load(REPARTITION="false").source_topic == "telefonie.calls"


@pytest.mark.parametrize(
    ("text", "ms"), [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("6h", 21_600_000), ("1d", 86_400_000)]
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration(text) == ms
    assert format_duration(ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0s"),
        (-5, "0s"),
        (7, "7s"),
        (307, "5m 7s"),
        (4_320, "1h 12m"),
        (3_600, "1h 0m"),
        (183_600, "2d 3h"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert approximate_duration(seconds) == text


@pytest.mark.parametrize(
    "text", ["0s", "-1s", "5", "5 s", "5S", "1.5h", "5m ", "\u0665m", "s", "1w", "9999999d"]
)
def test_what_is_no_duration(text: str) -> None:
    assert error(CALL_TIMEOUT=text).startswith("TELEFONIE_CALL_TIMEOUT takes a duration such as 250ms")


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("BROKERS", "kafka", "host:port,…"),
        ("BROKERS", "kafka:0", "host:port,…"),
        ("BROKERS", "kafka:9092,", "host:port,…"),
        ("BROKERS", "kafka:70000", "host:port,…"),
        ("BROKERS", "http://kafka:9092", "host:port,…"),
        ("APP_ID", "a/b", "letters, digits, dots"),
        ("CALLS_TOPIC", "..", "a topic name"),
        ("DEAD_TOPIC", "x" * 250, "a topic name"),
        ("PARTITIONS", "0", "a whole number from 1"),
        ("PARTITIONS", "four", "a whole number from 1"),
        ("REPLICATION", "1.0", "a whole number from 1"),
        ("HTTP_PORT", "65536", "a whole number from 0 to 65535"),
        ("HTTP_BIND", "a b", "an address or host name"),
        ("GUARANTEE", "at_most_once", "exactly_once or at_least_once"),
        ("NULLS", "maybe", "reject or absent"),
        ("STORE", "disk", "takes memory or rocksdb"),
        ("REPARTITION", "yes", "takes true or false"),
        ("SESSION_TIMEOUT", "1h", "at most 30m"),
        ("OUTPUT_RETENTION", "-1", "or forever"),
        ("SECURITY_PROTOCOL", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("SASL_MECHANISM", "GSSAPI", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"),
        ("SSL_CA", "/etc/ca.pem", "a file is named with _FILE"),
        ("LOG_LEVEL", "trace", "debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("INSTANCE_ID", "a b", "without blanks"),
    ],
)  # fmt: skip
def test_an_ill_typed_value_names_the_variable_and_what_it_takes(name: str, value: str, takes: str) -> None:
    message = error(**{name: value})
    assert message.startswith(f"TELEFONIE_{name} takes")
    assert takes in message
    assert repr(value[:100]) in message


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_an_empty_value_is_an_error(setting) -> None:  # type: ignore[no-untyped-def]
    assert error(**{setting.name: ""}).startswith(f"{setting.variable} is empty: {setting.variable} takes")
    assert " is empty" in error(**{setting.name: "  "})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BROKER", "did you mean TELEFONIE_BROKERS?"),
        ("CALL_TIMEOUTS", "did you mean TELEFONIE_CALL_TIMEOUT?"),
        ("XYZ", "`telefonie settings` lists all of them"),
        ("", "`telefonie settings` lists all of them"),
        ("brokers", "lists all of them"),
        ("SERVICE_HOST", "enableServiceLinks"),
        ("PORT_6066_TCP_ADDR", "enableServiceLinks"),
        ("CALLS_SERVICE_PORT_HTTP", "enableServiceLinks"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_hint(name: str, hint: str) -> None:
    message = error(**{name: "x"})
    assert message.startswith(f"TELEFONIE_{name} is not a setting: ")
    assert hint in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"DEAD_TOPIC": "telefonie.calls"}, "DEAD_TOPIC is the same topic as TELEFONIE_CALLS_TOPIC"),
        ({"KPIS_TOPIC": "telefonie_calls"}, "KPIS_TOPIC is the same topic as TELEFONIE_CALLS_TOPIC"),
        ({"APP_ID": "x", "CALLS_TOPIC": "x-calls-changelog"}, "changelog topic made from TELEFONIE_APP_ID"),
        ({"APP_ID": "x", "CALLS_TOPIC": "x-repartition"}, "the repartition topic made from TELEFONIE_APP_ID"),
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "TELEFONIE_SASL_MECHANISM is missing"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN"}, "TELEFONIE_SASL_USERNAME is missing"),
        ({"SASL_PASSWORD": "x"}, "TELEFONIE_SASL_PASSWORD is set, but TELEFONIE_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"SSL_CA": "-----BEGIN"}, "TELEFONIE_SSL_CA is set, but TELEFONIE_SECURITY_PROTOCOL=PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT": "-----BEGIN "}, "TELEFONIE_SSL_KEY is missing"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY": "-----BEGIN "}, "TELEFONIE_SSL_CERT is missing"),
        ({"OUTPUT_RETENTION": "1h"}, "TELEFONIE_OUTPUT_RETENTION takes at least TELEFONIE_CALL_RETENTION"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(values: dict[str, str], message: str) -> None:
    values = {name: value + " " if value == "-----BEGIN" else value for name, value in values.items()}
    assert message in error(**values)


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(SettingsError, match="TELEFONIE_DEAD_TOPIC"):
        replace(Settings(), dead_topic="telefonie.calls")


@pytest.mark.parametrize("name", ["API_TOKEN", "SASL_PASSWORD", "APP_ID", "CALL_TIMEOUT"])
def test_a_value_may_come_from_a_file(tmp_path: Path, name: str) -> None:
    security = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "u"}
    more = {"SASL_PASSWORD": "p"} if name != "SASL_PASSWORD" else {}
    file = tmp_path / "value"
    file.write_text("30m\n")
    settings = load(**security, **more, **{f"{name}_FILE": str(file)})
    assert getattr(settings, name.lower()) == (1_800_000 if name == "CALL_TIMEOUT" else "30m")


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\x00\xff")
    (tmp_path / "bad").write_text("two words")
    assert "TELEFONIE_API_TOKEN_FILE takes the path of a readable file" in error(API_TOKEN_FILE="/nowhere")
    assert "Is a directory" in error(API_TOKEN_FILE=str(tmp_path))
    assert "not a text file" in error(API_TOKEN_FILE=str(tmp_path / "binary"))
    assert "TELEFONIE_API_TOKEN_FILE is empty" in error(API_TOKEN_FILE=str(tmp_path / "empty"))
    assert error(APP_ID_FILE=str(tmp_path / "bad")).endswith(f"not the content of '{tmp_path / 'bad'}'")
    both = error(API_TOKEN="x", API_TOKEN_FILE=str(tmp_path / "bad"))
    assert both == "TELEFONIE_API_TOKEN and TELEFONIE_API_TOKEN_FILE are both set: give one"


def test_secrets_are_never_shown() -> None:
    assert {setting.name for setting in TABLE if setting.secret} == SECRETS
    settings = Settings(
        api_token="hush", security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u",
        sasl_password="hush", ssl_cert="-----BEGIN c", ssl_key="hush",
    )  # fmt: skip
    assert "hush" not in repr(settings)
    shown = [setting.show(getattr(settings, setting.name.lower())) for setting in TABLE]
    assert "hush" not in " ".join(shown)
    assert shown.count("(hidden)") == 3
    assert "hush hush" not in error(API_TOKEN="hush hush")
    assert "hush" not in error(SSL_KEY="hush", SECURITY_PROTOCOL="SSL")


def test_every_setting_says_what_it_means_and_is_typed() -> None:
    assert [setting.name.lower() for setting in TABLE] == [
        field.name for field in fields(Settings) if field.name != "files"
    ]
    for setting in TABLE:
        assert setting.meaning
        assert setting.kind.takes


def test_kafka_needs_brokers() -> None:
    with pytest.raises(SettingsError, match="TELEFONIE_BROKERS is missing: it takes host:port,…"):
        client_options(Settings())


def test_kafka_gives_what_clients_take() -> None:
    settings = load(
        BROKERS="a:1,b:2", SECURITY_PROTOCOL="SASL_PLAINTEXT", SASL_MECHANISM="SCRAM-SHA-512",
        SASL_USERNAME="u", SASL_PASSWORD="p",
    )  # fmt: skip
    assert client_options(settings) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run([*make, *names], check=True, capture_output=True, timeout=30)
    return cert, key


def test_certificates_become_a_context(certificate: tuple[Path, Path]) -> None:
    cert, key = map(str, certificate)
    settings = load(
        BROKERS="a:1", SECURITY_PROTOCOL="SSL", SSL_CA_FILE=cert, SSL_CERT_FILE=cert, SSL_KEY_FILE=key
    )
    context = client_options(settings)["ssl_context"].now()
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert [dict(part[0] for part in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == [
        "localhost"
    ]


@pytest.mark.parametrize("name", ["SSL_CA", "SSL_CERT", "SSL_KEY"])
def test_certificates_that_cannot_be_used(certificate: tuple[Path, Path], name: str) -> None:
    cert, key = map(str, certificate)
    values = {"SSL_CA_FILE": cert, "SSL_CERT_FILE": cert, "SSL_KEY_FILE": key}
    del values[f"{name}_FILE"]
    settings = load(BROKERS="a:1", SECURITY_PROTOCOL="SSL", **values, **{name: "-----BEGIN RUBBISH-----\n"})
    with pytest.raises(SettingsError, match=f"TELEFONIE_{name}.* cannot be used"):
        client_options(settings)


def test_an_encrypted_key_is_refused_instead_of_asking_for_its_password(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = map(str, certificate)
    locked = str(tmp_path / "locked.pem")
    lock = ["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:x"]
    subprocess.run(lock, check=True, capture_output=True, timeout=30)
    settings = load(BROKERS="a:1", SECURITY_PROTOCOL="SSL", SSL_CERT_FILE=cert, SSL_KEY_FILE=locked)
    with pytest.raises(SettingsError, match="TELEFONIE_SSL_KEY cannot be used"):
        client_options(settings)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_begins_with_a_byte_order_mark_is_told_so(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "token"
    file.write_text("secret", encoding=encoding)
    said = error(API_TOKEN_FILE=str(file))
    assert said.startswith(f"the file of TELEFONIE_API_TOKEN_FILE, '{file}', begins with a byte-order mark")
    assert "secret" not in said


def test_the_line_end_of_a_file_is_not_a_part_of_its_value(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"secret\r\n")
    assert load(API_TOKEN_FILE=str(file)).api_token == "secret"
