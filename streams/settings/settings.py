"""Every setting, once: its name, type, default and meaning.

Settings come from environment variables with the prefix `TELEFONIE_`, read once into one frozen
object. Any setting NAME can be given as `NAME_FILE` instead: the path of a file that holds the
value, which is how secrets are mounted. An unknown name, an empty or an ill-typed value and settings
that contradict each other stop the start with one line that names the variable and what it takes.

The fields of `Settings` are the only list: `telefonie settings` and docs/settings.md are generated from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from streams.settings import kinds
from streams.settings.environment import PREFIX, Setting, SettingsError, known, parsed
from streams.settings.kinds import FOREVER, Kind

# Read again when its file changes; all others are read once, at the start.
_ROTATED = {"SASL_USERNAME", "SASL_PASSWORD", "SSL_CA", "SSL_CERT", "SSL_KEY"}


def _setting(kind: Kind, default: str, meaning: str, secret: bool = False) -> Any:
    about = {"kind": kind, "default": default, "meaning": meaning, "secret": secret}
    return field(default=kind.parse(default) if default else None, repr=not secret, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one process. Durations are whole milliseconds; secrets stay out of `repr`.

    Read them with `Settings.load`. An object made directly, or by `dataclasses.replace`, is also checked for
    contradictions, and raises SettingsError.
    """

    brokers: str | None = _setting(
        kinds.ADDRESSES, "", "the Kafka brokers to start from; without it `run` starts an embedded Kafka"
    )
    app_id: str = _setting(
        kinds.APP_ID, "telefonie-calls", "consumer group, prefix of internal topics and of transactional ids"
    )
    calls_topic: str = _setting(kinds.TOPIC, "telefonie.calls", "topic of call events (in)")
    completed_topic: str = _setting(
        kinds.TOPIC, "telefonie.calls.completed", "topic of completed calls (out)"
    )
    kpis_topic: str = _setting(kinds.TOPIC, "telefonie.calls.kpis", "topic of KPI windows (out)")
    dead_topic: str = _setting(kinds.TOPIC, "telefonie.calls.dead", "topic of rejected records (out)")
    partitions: int = _setting(
        kinds.whole(1, 10_000), "4", "partitions of the topics that `topics create` creates"
    )
    replication: int = _setting(
        kinds.whole(1, 100), "1", "replicas of the topics that `topics create` creates"
    )
    input_retention: int = _setting(
        kinds.retention(),
        "7d",
        "retention of the calls topic that `topics create` sets, by record timestamp",
    )
    output_retention: int = _setting(
        kinds.retention(),
        "365d",
        "the same for the output topics, whose records carry event times: it must exceed the age of "
        "anything that is replayed",
    )
    guarantee: Literal["exactly_once", "at_least_once"] = _setting(
        kinds.one_of("exactly_once", "at_least_once"),
        "exactly_once",
        "what readers of the output may see after a crash",
    )
    commit_interval: int = _setting(
        kinds.duration("1h"),
        "",
        "time between commits, which is the upper bound of output latency under exactly_once; by "
        "default 100ms for exactly_once and 1s for at_least_once",
    )
    call_timeout: int = _setting(
        kinds.duration(),
        "6h",
        "an open call is closed when it has had no event for this long, in stream time",
    )
    call_retention: int = _setting(
        kinds.duration(),
        "24h",
        "how long a closed call is remembered: must exceed the longest gap between the end of a call "
        "and its last amendment",
    )
    max_clock_skew: int = _setting(
        kinds.duration(),
        "5m",
        "records stamped further ahead of the wall clock are dead-lettered as too-early",
    )
    kpi_window: int = _setting(kinds.duration(), "60s", "length of a KPI window")
    repartition: bool = _setting(
        kinds.FLAG,
        "false",
        "whether events first go through an internal topic keyed by call id, for producers that do not "
        "put all events of a call into one partition; changing it requires another TELEFONIE_APP_ID",
    )
    nulls: Literal["reject", "absent"] = _setting(
        kinds.one_of("reject", "absent"),
        "reject",
        "whether a record with an optional property that is null is rejected, as the schema says, or "
        "the property counts as absent",
    )
    store: Literal["memory", "rocksdb"] = _setting(
        kinds.one_of("memory", "rocksdb"),
        "memory",
        "where the state of calls is kept, in addition to the changelog topic",
    )
    data_dir: str = _setting(
        kinds.LINE,
        ".telefonie",
        "directory in which `run` and `broker` keep their data, and workers their rocksdb stores",
    )
    instance_id: str | None = _setting(
        kinds.NAME,
        "",
        "name for static group membership, such as the pod's name: a quick restart then moves no partitions",
    )
    session_timeout: int = _setting(
        kinds.duration("30m"), "10s", "after this time the partitions of a silent worker move to others"
    )
    http_bind: str = _setting(kinds.HOST, "127.0.0.1", "address the web server listens on")
    http_port: int = _setting(
        kinds.whole(0, 65535), "6066", "port the web server listens on; 0 takes any free one"
    )
    http_advertise: str | None = _setting(
        kinds.URL,
        "",
        "URL at which the other workers of the group reach this one; by default the address it listens "
        "on or, if it listens on all addresses, the one from which it reaches the brokers",
    )
    api_token: str | None = _setting(
        kinds.TOKEN,
        "",
        "bearer token for call data; without one, call data is served to loopback only",
        secret=True,
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _setting(
        kinds.one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "PLAINTEXT",
        "protocol for connections to the brokers",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = _setting(
        kinds.one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        "",
        "SASL mechanism for logging in to the brokers",
    )
    sasl_username: str | None = _setting(kinds.LINE, "", "user name at the brokers")
    sasl_password: str | None = _setting(kinds.LINE, "", "password at the brokers", secret=True)
    ssl_ca: str | None = _setting(
        kinds.PEM, "", "CA certificates to verify the brokers with; by default the system's"
    )
    ssl_cert: str | None = _setting(kinds.PEM, "", "client certificate with its chain, for mutual TLS")
    ssl_key: str | None = _setting(kinds.PEM, "", "private key of the client certificate", secret=True)
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        kinds.one_of("debug", "info", "warning", "error"), "info", "the least severe log records to write"
    )
    log_format: Literal["text", "json"] = _setting(
        kinds.one_of("text", "json"), "text", "log lines as text for people, or as JSON"
    )
    #: Not a setting: the paths of the credentials that were given as files, by the setting's name.
    files: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.commit_interval is None:
            object.__setattr__(self, "commit_interval", 100 if self.guarantee == "exactly_once" else 1_000)
        for contradiction in _contradictions(self):
            raise SettingsError(contradiction)

    @property
    def changelog_topic(self) -> str:
        """The internal topic that holds the state of calls."""
        return f"{self.app_id}-calls-changelog"

    @property
    def repartition_topic(self) -> str:
        """The internal topic of events keyed by call id; used with `repartition` only."""
        return f"{self.app_id}-repartition"

    @property
    def repartition_changelog_topic(self) -> str:
        """The internal topic that holds how far the calls topic has been sent on to the one above."""
        return f"{self.app_id}-repartition-changelog"

    @property
    def source_topic(self) -> str:
        """The topic whose events are applied."""
        return self.repartition_topic if self.repartition else self.calls_topic

    @property
    def redriven_topic(self) -> str:
        """The topic that records which dead letters have been sent back, shared by all groups."""
        return f"{self.dead_topic}-redriven"

    @classmethod
    def load(cls, env: Mapping[str, str]) -> Settings:
        """The settings that `env` gives; SettingsError for the first that cannot be used."""
        table = {setting.name: setting for setting in TABLE}
        values: dict[str, Any] = {}
        files: dict[str, str] = {}
        for variable in sorted(env):
            if not variable.startswith(PREFIX):
                continue
            setting = known(variable, table)
            if setting.name.lower() in values:
                raise SettingsError(f"{setting.variable} and {setting.variable}_FILE are both set: give one")
            values[setting.name.lower()] = parsed(setting, variable, env[variable])
            if variable != setting.variable and setting.name in _ROTATED:
                files[setting.name] = env[variable]
        return cls(**values, files=files)

    def renewed(self) -> Settings:
        """A copy in which credentials given as files have been read again; raises SettingsError as `load` does."""
        settings = (setting for setting in TABLE if setting.name in self.files)
        again = {
            each.name.lower(): parsed(each, f"{each.variable}_FILE", self.files[each.name])
            for each in settings
        }
        return replace(self, **again)

    def addresses(self) -> list[str]:
        """Where the brokers are. Raises SettingsError when `brokers` is not set."""
        if self.brokers is None:
            raise SettingsError(f"{PREFIX}BROKERS is missing: it takes {kinds.ADDRESSES.takes}")
        return self.brokers.split(",")


TABLE: tuple[Setting, ...] = tuple(
    Setting(each.name.upper(), **each.metadata) for each in fields(Settings) if each.metadata
)
"""Every setting, in the order in which they are documented."""


def _contradictions(settings: Settings) -> Iterator[str]:
    yield from _topic_clashes(settings)
    protocol = f"{PREFIX}SECURITY_PROTOCOL={settings.security_protocol}"
    for part in ("SASL", "SSL"):
        for setting in TABLE:
            is_set = (
                setting.name.startswith(f"{part}_") and getattr(settings, setting.name.lower()) is not None
            )
            if is_set and part not in settings.security_protocol:
                yield f"{setting.variable} is set, but {protocol} makes no use of it"
    if "SASL" in settings.security_protocol:
        for name in ("SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD"):
            if getattr(settings, name.lower()) is None:
                yield f"{PREFIX}{name} is missing: {protocol} needs it"
    if (settings.ssl_cert is None) != (settings.ssl_key is None):
        given, missing = ("CERT", "KEY") if settings.ssl_cert else ("KEY", "CERT")
        yield f"{PREFIX}SSL_{missing} is missing: {PREFIX}SSL_{given} needs it"
    if FOREVER != settings.output_retention < settings.call_retention:
        yield f"{PREFIX}OUTPUT_RETENTION takes at least {PREFIX}CALL_RETENTION: amendments need their call"


def _topic_clashes(settings: Settings) -> Iterator[str]:
    seen = {
        _metric_name(settings.changelog_topic): f"the changelog topic made from {PREFIX}APP_ID",
        _metric_name(settings.redriven_topic): f"the topic of redriven records made from {PREFIX}DEAD_TOPIC",
        _metric_name(settings.repartition_topic): f"the repartition topic made from {PREFIX}APP_ID",
        _metric_name(
            settings.repartition_changelog_topic
        ): f"the repartition changelog made from {PREFIX}APP_ID",
    }
    for name in ("CALLS_TOPIC", "COMPLETED_TOPIC", "KPIS_TOPIC", "DEAD_TOPIC"):
        key = _metric_name(getattr(settings, name.lower()))
        if key in seen:
            yield f"{PREFIX}{name} is the same topic as {seen[key]} (a dot counts as an underscore)"
        seen[key] = PREFIX + name


def _metric_name(topic: str) -> str:
    # Brokers refuse two topics whose names differ only in this.
    return topic.replace(".", "_")
