"""A Kafka with authentication: TLS, passwords and access rights, and the certificates for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from streams.embedded import Cluster

#: Listener -> protocol. On `PLAINTEXT` everybody is the super user ANONYMOUS, which is how tests set things up.
LISTENERS = {
    "SSL": "SSL",
    "SASL_SSL": "SASL_SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    # TLS with a certificate that has expired, and with one for another host.
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
#: Users of PLAIN are part of the broker's configuration.
PLAIN_USERS = {"app": "hush-plain"}
_MODULE = "org.apache.kafka.common.security"
_PAST = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key, as files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of the tests' own; what it signs goes into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True, parents=True)
        self._authority = trustme.CA()
        self.cert = folder / "ca.pem"
        self.cert.write_bytes(self._authority.cert_pem.bytes())

    def issue(self, name: str, *hosts: str, expired: bool = False) -> Identity:
        """A certificate for `hosts` (`name` alone without any); one that has `expired` did so yesterday."""
        made = self._authority.issue_cert(
            *(hosts or (f"{name}.example.com",)), common_name=name, not_after=_PAST if expired else None
        )
        identity = Identity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        identity.cert.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        key = load_pem_private_key(made.private_key_pem.bytes(), None)
        # Kafka reads PKCS#8 only.
        identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return identity

    def keystore(self, identity: Identity) -> Path:
        """The identity as one file, as Kafka wants it."""
        store = identity.cert.with_suffix(".store.pem")
        store.write_bytes(identity.key.read_bytes() + identity.cert.read_bytes() + self.cert.read_bytes())
        return store


def server_properties(authority: Authority, plain_users: Mapping[str, str] = PLAIN_USERS) -> dict[str, str]:
    """Of a broker with `LISTENERS`, mutual TLS on `SSL`, and deny by default."""
    local = authority.keystore(authority.issue("broker", "127.0.0.1", "localhost"))
    expired = authority.keystore(authority.issue("expired", "127.0.0.1", expired=True))
    elsewhere = authority.keystore(authority.issue("elsewhere", "kafka.example.com"))
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    users = " ".join(f'user_{name}="{password}"' for name, password in plain_users.items())
    found = {
        "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(local),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.cert),
        "listener.name.expired.ssl.keystore.location": str(expired),
        "listener.name.elsewhere.ssl.keystore.location": str(elsewhere),
        "listener.name.ssl.ssl.client.auth": "required",
        # The user of a client certificate is its common name.
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:app",
    }
    for listener in ("sasl_ssl", "sasl_plaintext"):
        jaas = f"listener.name.{listener}.{{}}.sasl.jaas.config"
        found[jaas.format("plain")] = f"{_MODULE}.plain.PlainLoginModule required {users};"
        for scram in ("scram-sha-256", "scram-sha-512"):
            found[jaas.format(scram)] = f"{_MODULE}.scram.ScramLoginModule required;"
    return found


def secured_cluster(data: Path, authority: Authority, **options: object) -> Cluster:
    """The cluster, not started."""
    return Cluster(data, listeners=tuple(LISTENERS), settings=server_properties(authority), **options)  # type: ignore[arg-type]


def admin(brokers: str) -> AdminClient:
    """A client of the super user, at the address of the listener `PLAINTEXT`."""
    return AdminClient({"bootstrap.servers": brokers, "log_level": "0"})


def set_password(brokers: str, user: str, password: str) -> None:
    """Give a user a password for SCRAM-SHA-256 and SCRAM-SHA-512, in place of a former one."""
    client = admin(brokers)  # which its futures do not keep alive
    for each in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        made = UserScramCredentialUpsertion(user, ScramCredentialInfo(each, 4096), password.encode())
        for future in client.alter_user_scram_credentials([made]).values():
            future.result(20)


@dataclass(frozen=True)
class Rule:
    """What a user may do: operations on a resource, named exactly or by a prefix that ends with `*`.

    Operations are as Kafka's documentation writes them, `DescribeConfigs`.
    """

    resource: str
    name: str
    operations: tuple[str, ...]

    def bindings(self, user: str) -> Iterable[AclBinding]:
        """As Kafka keeps it."""
        prefixed = self.name.endswith("*") and self.name != "*"
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        for operation in self.operations:
            yield AclBinding(
                ResourceType[self.resource.upper().replace("-", "_")],
                self.name.removesuffix("*") if prefixed else self.name,
                pattern,
                f"User:{user}",
                "*",
                AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                AclPermissionType.ALLOW,
            )


def allow(brokers: str, user: str, rules: Iterable[Rule]) -> None:
    """Give a user these rights, and no others."""
    client = admin(brokers)
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,
        ResourcePatternType.ANY,
        f"User:{user}",
        None,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for future in client.delete_acls([everything]).values():
        future.result(20)
    if bindings := [each for rule in rules for each in rule.bindings(user)]:
        for future in client.create_acls(bindings).values():
            future.result(20)


#: Users by their password for SCRAM.
PASSWORDS = {name: f"hush-{name}" for name in ("worker", "maker", "looker", "redriver", "producer")}


@dataclass(frozen=True)
class Secured:
    """The running cluster, and who may be who."""

    addresses: dict[str, str]
    authority: Authority
    stranger: Authority
    identities: dict[str, Identity]

    @property
    def brokers(self) -> str:
        """Where one is the super user without being asked."""
        return self.addresses["PLAINTEXT"]

    def allow(self, user: str, *rules: Rule) -> None:
        """Give a user these rights, and no others."""
        allow(self.brokers, user, rules)

    def settings(self, listener: str, protocol: str | None = None, **more: str) -> dict[str, str]:
        """Names and values that lead to a listener."""
        protocol = protocol or listener
        trust = {"SSL_CA_FILE": str(self.authority.cert)} if "SSL" in protocol.removeprefix("SASL_") else {}
        return {"BROKERS": self.addresses[listener], "SECURITY_PROTOCOL": protocol, **trust, **more}

    def shown(self, name: str) -> dict[str, str]:
        """The settings of a client certificate."""
        identity = self.identities[name]
        return {"SSL_CERT_FILE": str(identity.cert), "SSL_KEY_FILE": str(identity.key)}


def login(user: str, password: str | None = None, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
    """The settings of a user."""
    password = PASSWORDS[user] if password is None else password
    return {"SASL_MECHANISM": mechanism, "SASL_USERNAME": user, "SASL_PASSWORD": password}
