"""What each Kafka error means to people: one table of all errors that brokers and client can report, on every path."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from streams.settings import PREFIX

OLDEST_KAFKA: Final = "3.5"
"""The oldest release whose brokers are supported."""

Path: TypeAlias = Literal[
    "connection", "login", "rights", "group", "reading", "writing", "transactions", "topics", "ours", "others"
]


class Meaning(NamedTuple):
    """The path on which an error occurs, what it says, what that means for the data, and what to do next."""

    path: Path
    says: str
    data: str
    do: str


_KEPT: Final = "Nothing is lost: the next start continues from the last commit"
_NONE: Final = "Nothing was read or written"
_GAP: Final = "Nothing is skipped: the partition stays where it is until somebody decides"
_RETRIED: Final = "Nothing is lost: it was retried for as long as that makes sense"

_REPORT: Final = (
    "Start it again; if it happens again, report it with this line and the versions of telefonie and "
    "the brokers"
)
_REACH: Final = (
    "Check that this broker runs, that its advertised.listeners resolve and can be reached from here, "
    f"and that the ports in {PREFIX}BROKERS are those of {PREFIX}SECURITY_PROTOCOL"
)
_BROKERS: Final = "Check the state and the logs of the brokers, then start it again"
_CHECK: Final = (
    "Run `telefonie topics check`, which names the setting, and `telefonie topics alter`, which changes it"
)
_LOGIN: Final = f"Check {PREFIX}SECURITY_PROTOCOL and the settings that begin with {PREFIX}SASL_"
_UPGRADE: Final = (
    f"Use Kafka {OLDEST_KAFKA} or later, without a proxy in between that hides what the brokers support"
)

ROWS: Final[tuple[tuple[str, Meaning], ...]] = (
    (
        "NodeNotReadyError NoBrokersAvailable KafkaUnavailableError KafkaConnectionError MetadataEmptyBrokerList "
        "StaleMetadata BrokerNotAvailableError ListenerNotFound RebootstrapRequired",
        Meaning("connection", "a broker cannot be reached at the address that it advertises", _NONE, _REACH),
    ),
    (
        "KafkaTimeoutError RequestTimedOutError",
        Meaning("connection", "the brokers did not answer in time", _KEPT, _BROKERS),
    ),
    (
        "UnrecognizedBrokerVersion IncompatibleBrokerVersion UnsupportedVersionError "
        "UnsupportedForMessageFormatError",
        Meaning("connection", "the brokers are too old for a request", _NONE, _UPGRADE),
    ),
    (
        "ThrottlingQuotaExceeded QuotaViolationError",
        Meaning(
            "connection",
            "the brokers limit the requests of this user",
            _KEPT,
            "Ask the people who run the brokers for a higher quota, or do less at once",
        ),
    ),
    (
        "AuthenticationMethodNotSupported AuthenticationFailedError SaslAuthenticationFailed "
        "UnsupportedSaslMechanismError "
        "IllegalSaslStateError UnacceptableCredential PrincipalDeserializationFailure",
        Meaning("login", "the brokers do not let this user in", _NONE, _LOGIN),
    ),
    (
        "TopicAuthorizationFailedError GroupAuthorizationFailedError ClusterAuthorizationFailedError "
        "TransactionalIdAuthorizationFailed",
        Meaning(
            "rights",
            "the brokers refuse this user: an ACL is missing, and the line names it",
            _NONE,
            "Have it added: docs/security.md lists all that are needed",
        ),
    ),
    (
        "SecurityDisabled",
        Meaning(
            "rights",
            "the brokers have no authorizer",
            _NONE,
            "Ask the people who run the brokers whether this is intended",
        ),
    ),
    (
        "CommitFailedError IllegalGenerationError UnknownMemberIdError RebalanceInProgressError FencedMemberEpoch "
        "StaleMemberEpoch NotAMemberError",
        Meaning(
            "group",
            "the group continued without this worker, which had been silent for too long",
            _KEPT,
            f"Start it again; if it happens often, give the worker more CPU or raise {PREFIX}SESSION_TIMEOUT",
        ),
    ),
    (
        "FencedInstanceId UnreleasedInstanceId",
        Meaning(
            "group",
            f"another worker has joined the group with the same {PREFIX}INSTANCE_ID",
            _KEPT,
            f"Give each worker a {PREFIX}INSTANCE_ID of its own, such as the name of its pod, and start it again",
        ),
    ),
    (
        "InconsistentGroupProtocolError UnsupportedAssignor",
        Meaning(
            "group",
            f"the group {PREFIX}APP_ID has members that are not workers of this program",
            _KEPT,
            "Find them with `kafka-consumer-groups.sh --describe --members` and stop them, or use another "
            f"{PREFIX}APP_ID",
        ),
    ),
    (
        "InvalidSessionTimeoutError",
        Meaning(
            "group",
            f"the brokers do not allow this {PREFIX}SESSION_TIMEOUT",
            _NONE,
            "Choose one between their group.min.session.timeout.ms and group.max.session.timeout.ms",
        ),
    ),
    (
        "InvalidGroupIdError",
        Meaning("group", f"the brokers do not take {PREFIX}APP_ID as a group", _NONE, "Choose another"),
    ),
    (
        "GroupMaxSizeReached",
        Meaning(
            "group", "the group has as many members as the brokers allow", _KEPT, "Raise their group.max.size"
        ),
    ),
    (
        "GroupLoadInProgressError GroupCoordinatorNotAvailableError NotCoordinatorForGroupError MemberIdRequired",
        Meaning(
            "group",
            "the broker that coordinates the group or its transactions is not ready",
            _RETRIED,
            "Check that __consumer_offsets and __transaction_state have leaders and enough in-sync "
            "replicas, then start it again",
        ),
    ),
    (
        "OffsetMetadataTooLargeError",
        Meaning(
            "group",
            "the brokers do not accept the metadata of an offset",
            _KEPT,
            "Set their offset.metadata.max.bytes to the default, 4096",
        ),
    ),
    (
        "UnstableOffsetCommit",
        Meaning(
            "group",
            "the group's offsets are part of a transaction that has not ended",
            _RETRIED,
            "It ends by itself after 30 s; if not, find it with `kafka-transactions.sh find-hanging` "
            "and end it with `abort`",
        ),
    ),
    (
        "NonEmptyGroup GroupIdNotFound GroupSubscribedToTopic",
        Meaning(
            "group",
            f"the group {PREFIX}APP_ID is not in the required state",
            _NONE,
            "Run `telefonie status`",
        ),
    ),
    (
        "OffsetOutOfRangeError NoOffsetForPartitionError OffsetMovedToTieredStorage PositionOutOfRange",
        Meaning(
            "reading",
            "the log does not hold the next offset: records were removed before they were read, or the "
            "topic was deleted and created again",
            _GAP,
            "Read docs/runbook.md before you move the group; extend the topic's retention meanwhile",
        ),
    ),
    (
        "CorruptRecordException",
        Meaning(
            "reading",
            "a batch of records is damaged",
            _GAP,
            "Check whether Kafka's own tools can read it (`kafka-dump-log.sh`) and whether the "
            "broker's disk is healthy",
        ),
    ),
    (
        "UnsupportedCodecError UnsupportedCompressionType",
        Meaning(
            "reading",
            "records are compressed in a way that cannot be read here",
            _GAP,
            "Have the producer use gzip, snappy, lz4, zstd or none",
        ),
    ),
    (
        "UnknownTopicOrPartitionError UnknownTopicId InconsistentTopicId FetchSessionTopicIdError",
        Meaning(
            "reading",
            "a topic or partition does not exist, or was deleted and created again",
            _GAP,
            "Run `telefonie topics check`; a missing ACL Describe looks the same",
        ),
    ),
    (
        "InvalidTopicError",
        Meaning(
            "topics",
            "the brokers do not accept this name for a topic",
            _NONE,
            "Choose another name in the settings",
        ),
    ),
    (
        "LeaderNotAvailableError NotLeaderForPartitionError ReplicaNotAvailableError "
        "FencedLeaderEpoch UnknownLeaderEpoch "
        "OffsetNotAvailable PreferredLeaderNotAvailable EligibleLeadersNotAvailable StaleLeaderEpochCodeError "
        "NewLeaderElected KafkaStorageError LogDirNotFound",
        Meaning(
            "reading",
            "a partition has no leader, or its leader's disk fails",
            _RETRIED,
            "Find out which brokers are down (`kafka-topics.sh --describe --unavailable-partitions`), "
            "then start it again",
        ),
    ),
    (
        "MessageSizeTooLargeError RecordTooLargeError RecordListTooLargeError",
        Meaning("writing", "a record is larger than its topic accepts (max.message.bytes)", _KEPT, _CHECK),
    ),
    (
        "InvalidTimestampError",
        Meaning(
            "writing",
            "a topic refuses the timestamp of a record (message.timestamp.before.max.ms, "
            "message.timestamp.after.max.ms)",
            _KEPT,
            _CHECK,
        ),
    ),
    (
        "InvalidRecord",
        Meaning(
            "writing",
            "a topic refuses a record, as a compacted topic refuses records without a key",
            _KEPT,
            _CHECK,
        ),
    ),
    (
        "NotEnoughReplicasError NotEnoughReplicasAfterAppendError",
        Meaning(
            "writing",
            "fewer replicas are in sync than min.insync.replicas requires",
            _KEPT,
            "Bring the missing brokers back; do not lower min.insync.replicas, since acknowledged "
            "records could be lost then",
        ),
    ),
    (
        "OutOfOrderSequenceNumber DuplicateSequenceNumber UnknownProducerId",
        Meaning(
            "writing",
            "the brokers do not know what was written just before: they lost it, or no longer know the "
            "producer",
            _KEPT,
            "Start it again, and check for an unclean leader election or a lost disk",
        ),
    ),
    (
        "PolicyViolationError",
        Meaning(
            "topics",
            "a policy of the brokers forbids it",
            _NONE,
            "Ask the people who run the brokers what they allow",
        ),
    ),
    (
        "ProducerFenced ProducerFencedError InvalidProducerEpoch",
        Meaning(
            "transactions",
            "another worker has taken over this partition, or the brokers have ended a transaction "
            "that took longer than its transaction.timeout.ms",
            _KEPT,
            "Start it again. If it happens again, check whether two workers have the same "
            f"{PREFIX}INSTANCE_ID, or whether the brokers or this machine stall for longer than 30 s",
        ),
    ),
    (
        "InvalidTxnState TransactionAbortable ConcurrentTransactions TransactionCoordinatorFenced "
        "InvalidProducerIdMapping "
        "TransactionalIdNotFound",
        Meaning(
            "transactions",
            "the brokers and this worker do not agree on the state of a transaction",
            _KEPT,
            "Start it again: that ends the transaction. If it happens again, check the replicas of "
            "__transaction_state",
        ),
    ),
    (
        "InvalidTransactionTimeout",
        Meaning(
            "transactions",
            "the brokers do not allow transactions of 30 s",
            _NONE,
            "Raise their transaction.max.timeout.ms; the default is 15 minutes",
        ),
    ),
    (
        "TopicAlreadyExistsError",
        Meaning(
            "topics", "the topic exists already", _NONE, "Run it again: existing topics are left unchanged"
        ),
    ),
    (
        "InvalidPartitionsError InvalidReplicationAssignmentError",
        Meaning(
            "topics",
            "the brokers do not accept this number of partitions",
            _NONE,
            f"Check {PREFIX}PARTITIONS; the number cannot be reduced",
        ),
    ),
    (
        "InvalidReplicationFactorError",
        Meaning(
            "topics",
            f"there are fewer brokers than {PREFIX}REPLICATION requires",
            _NONE,
            "Lower it, or wait until all brokers are up",
        ),
    ),
    (
        "InvalidConfigurationError",
        Meaning(
            "topics",
            "the brokers do not accept a setting of a topic",
            _NONE,
            "docs/topics.md lists those that are needed",
        ),
    ),
    (
        "NotControllerError ReassignmentInProgress NoReassignmentInProgress TopicDeletionDisabled "
        "UnknownControllerId",
        Meaning(
            "topics",
            "the cluster is being changed at the moment",
            _NONE,
            "Wait until that has ended, and try again",
        ),
    ),
    (
        "KafkaError IllegalStateError IllegalArgumentError KafkaProtocolError CorrelationIdError Cancelled "
        "TooManyInFlightRequests "
        "KafkaConfigurationError ConsumerStoppedError IllegalOperation ProducerClosed InvalidRequestError "
        "InvalidFetchRequestError InvalidRequiredAcksError InvalidCommitOffsetSizeError OperationNotAttempted "
        "FetchSessionIdNotFound InvalidFetchSessionEpoch StoppedError",
        Meaning(
            "ours",
            "the Kafka client was used, or has failed, in a way that should not happen",
            _KEPT,
            _REPORT,
        ),
    ),
    (
        "BrokerResponseError UnknownError",
        Meaning(
            "others",
            "a broker failed without giving a reason",
            _KEPT,
            "Look for the reason in the broker's log at this time; start it again",
        ),
    ),
    (
        "NoError StaleControllerEpochError DelegationTokenAuthDisabled DelegationTokenNotFound "
        "DelegationTokenOwnerMismatch DelegationTokenRequestNotAllowed DelegationTokenAuthorizationFailed "
        "DelegationTokenExpired InvalidPrincipalType StaleBrokerEpoch ElectionNotNeeded ResourceNotFound "
        "DuplicateResource InconsistentVoterSet InvalidUpdateVersion FeatureUpdateFailed SnapshotNotFound "
        "DuplicateBrokerRegistration BrokerIdNotRegistered InconsistentClusterId IneligibleReplica "
        "MismatchedEndpointType UnsupportedEndpointType UnknownSubscriptionId TelemetryTooLarge InvalidRegistration "
        "InvalidRecordState ShareSessionNotFound InvalidShareSessionEpoch FencedStateEpoch InvalidVoterKey "
        "DuplicateVoter VoterNotFound InvalidRegularExpression StreamsInvalidTopology StreamsInvalidTopologyEpoch "
        "StreamsTopologyFenced ShareSessionLimitReached",
        Meaning(
            "others",
            "a broker sent an error that is meant for brokers, controllers or other kinds of clients",
            _KEPT,
            f"Check that {PREFIX}BROKERS names brokers, not controllers; otherwise report it",
        ),
    ),
)

TABLE: Final[dict[str, Meaning]] = {name: meaning for names, meaning in ROWS for name in names.split()}
"""What an error means, by the name of its class."""

SIGNS: Final = {
    "SaslAuthenticationFailed": f"refuse this user: look at {PREFIX}SASL_USERNAME, {PREFIX}SASL_PASSWORD and "
    f"{PREFIX}SASL_MECHANISM",
    "UnsupportedSaslMechanism": f"do not support this {PREFIX}SASL_MECHANISM",
    "wrong signature": f"do not know {PREFIX}SASL_PASSWORD themselves: they are not who they claim to be",
    "(?i)(address|hostname) mismatch": f"show a certificate that is not for the names in {PREFIX}BROKERS",
    "certificate has expired": f"show a certificate that has expired: renew it there, {PREFIX}SSL_CA cannot help",
    "CERTIFICATE_VERIFY_FAILED": f"show a certificate that {PREFIX}SSL_CA does not vouch for",
    "ALERT_CERTIFICATE_REQUIRED": f"ask for a client certificate: set {PREFIX}SSL_CERT and {PREFIX}SSL_KEY",
    "ALERT_[A-Z_]*(CERTIFICATE|CA)": f"refuse the client certificate in {PREFIX}SSL_CERT: it has expired, or they "
    "do not trust who signed it",
}
"""Patterns in the errors of refused connections, and what each means, as a statement about the brokers. The first match
counts."""

OWN: Final = {
    "SettingsError": (
        "a setting is unknown, missing or ill-typed, or contradicts another; the line names the variable",
        "`telefonie settings` prints all of them, and what each takes",
    ),
    "Unreachable": ("no broker answers, or none accepts the login", "see the two lists below"),
    "TopicsError": (
        "a topic is missing or would break the processor as it is, or the brokers refuse to create or "
        "change it",
        "`telefonie topics check` says what is wrong with each of them, [topics.md](topics.md) why it "
        "matters",
    ),
    "NotAllowedError": (
        "an ACL is missing; the line names it",
        "have it added: [security.md](security.md#rights) lists all that are needed",
    ),
    "KafkaFailure": ("a Kafka error, in words", "see the last list below"),
    "RecordsLostError": (
        "the log does not hold the next record, or is not the same log as before",
        "the line says what was lost, and how to continue without it on purpose",
    ),
    "UnreadableError": (
        "a batch of records in the log cannot be read",
        "check whether Kafka's own tools can; the line says how to continue without it",
    ),
    "RecordTooLargeError": (
        "a record is larger than its topic accepts, even compressed and in its smallest form",
        "raise `max.message.bytes` of that topic as the line says; nothing was written, and nothing is lost",
    ),
    "TopicRefusedError": (
        "a topic refuses batches, however small they are made",
        "`telefonie topics check` says what its settings must be; nothing was written, and nothing is lost",
    ),
    "StateLostError": (
        "the changelog does not hold the state that the group's last commit proves",
        "the line says how to continue without it on purpose: calls that were open would be billed "
        "only in part",
    ),
    "StateVersionError": (
        "the state was written by a release that this one does not know",
        "run that release, or a later one; nothing was changed",
    ),
    "StoreError": (
        "the disk of a `rocksdb` store fails, is full or cannot be written to",
        "repair the disk and start again: the state is safe in the changelog",
    ),
    "BrokersLostError": (
        "no broker could be reached, or nothing committed, for two minutes",
        "check the brokers, then start the worker again: it continues from its last commit",
    ),
    "EmbeddedKafkaError": ("the embedded Kafka cannot be started", "the line says what prevents it"),
    "ChildEnded": ("a child process has ended unexpectedly", "the end of its log is shown"),
    "NobodyAnswersError": (
        "no worker answers over HTTP",
        "pass `--url`, or check with `telefonie status` whether a worker runs",
    ),
}
"""This program's own errors that people see, by the names of their classes: when they occur, and what to do."""
