"""What each error of Kafka means to people: one table of all that its brokers and its client can say, on every path."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from streams.settings import PREFIX

OLDEST_KAFKA: Final = "3.5"
"""The oldest release whose brokers are supported."""

Path: TypeAlias = Literal[
    "connection", "login", "rights", "group", "reading", "writing", "transactions", "topics", "ours", "others"
]


class Meaning(NamedTuple):
    """Of an error: on which path it comes, what it says, what that means for the data, and the next step."""

    path: Path
    says: str
    data: str
    do: str


_KEPT: Final = "Nothing is lost: the next start goes on from the last commit"
_NONE: Final = "Nothing was read or written"
_GAP: Final = "Nothing is skipped: the partition stays where it is until somebody decides"
_RETRIED: Final = "Nothing is lost: it was tried again for as long as that makes sense"

_REPORT: Final = (
    "Start it again; if it comes back, report it with this line and the versions of telefonie and the brokers"
)
_REACH: Final = (
    "See that this broker runs, that its advertised.listeners resolve and can be reached from "
    "here, and that the ports "
    f"in {PREFIX}BROKERS are those of {PREFIX}SECURITY_PROTOCOL"
)
_BROKERS: Final = "Look at the state and the logs of the brokers, then start it again"
_CHECK: Final = (
    "Run `telefonie topics check`, which names the setting, and `telefonie topics alter`, which changes it"
)
_LOGIN: Final = f"Look at {PREFIX}SECURITY_PROTOCOL and the settings that begin with {PREFIX}SASL_"
_UPGRADE: Final = (
    f"Use brokers of Kafka {OLDEST_KAFKA} or later, without a proxy between that hides what they can do"
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
        Meaning("connection", "the brokers are too old for what is asked of them", _NONE, _UPGRADE),
    ),
    (
        "ThrottlingQuotaExceeded QuotaViolationError",
        Meaning(
            "connection",
            "the brokers limit what this user may ask of them",
            _KEPT,
            "Ask the people who run the brokers for a higher quota, or do less at a time",
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
            "the brokers refuse this user: an ACL is missing, which the line names",
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
            "Ask the people who run the brokers whether it should be so",
        ),
    ),
    (
        "CommitFailedError IllegalGenerationError UnknownMemberIdError RebalanceInProgressError FencedMemberEpoch "
        "StaleMemberEpoch",
        Meaning(
            "group",
            "the group went on without this worker, which had been silent for too long",
            _KEPT,
            f"Start it again; where it happens often, give the worker more CPU or raise {PREFIX}SESSION_TIMEOUT",
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
            "See that __consumer_offsets and __transaction_state have leaders and enough replicas in "
            "sync, then start it "
            "again",
        ),
    ),
    (
        "OffsetMetadataTooLargeError",
        Meaning(
            "group",
            "the brokers do not take the note that goes with each offset",
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
            "It ends by itself after 30 s; if not, `kafka-transactions.sh find-hanging` finds it and `abort` ends it",
        ),
    ),
    (
        "NonEmptyGroup GroupIdNotFound GroupSubscribedToTopic",
        Meaning(
            "group",
            f"the group {PREFIX}APP_ID is not in the state that this needs",
            _NONE,
            "Run `telefonie status`",
        ),
    ),
    (
        "OffsetOutOfRangeError NoOffsetForPartitionError OffsetMovedToTieredStorage PositionOutOfRange",
        Meaning(
            "reading",
            "the log does not hold the offset that comes next: records were removed before they were "
            "read, or the topic "
            "was deleted and created again",
            _GAP,
            "See docs/runbook.md before you move the group; extend the topic's retention meanwhile",
        ),
    ),
    (
        "CorruptRecordException",
        Meaning(
            "reading",
            "a batch of records is damaged",
            _GAP,
            "See whether Kafka's own tools can read it (`kafka-dump-log.sh`) and whether the broker's "
            "disk is in order",
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
            "the brokers do not take this as the name of a topic",
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
            "a partition has no leader, or one whose disk fails",
            _RETRIED,
            "See which brokers are down (`kafka-topics.sh --describe --unavailable-partitions`), then start it again",
        ),
    ),
    (
        "MessageSizeTooLargeError RecordTooLargeError RecordListTooLargeError",
        Meaning("writing", "a record is larger than its topic takes (max.message.bytes)", _KEPT, _CHECK),
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
            "a topic refuses a record, as a compacted one does that has no key",
            _KEPT,
            _CHECK,
        ),
    ),
    (
        "NotEnoughReplicasError NotEnoughReplicasAfterAppendError",
        Meaning(
            "writing",
            "fewer replicas are in sync than min.insync.replicas asks for",
            _KEPT,
            "Bring the missing brokers back; do not lower min.insync.replicas, what is acknowledged "
            "could be lost then",
        ),
    ),
    (
        "OutOfOrderSequenceNumber DuplicateSequenceNumber UnknownProducerId",
        Meaning(
            "writing",
            "the brokers do not know what was written just before: they have lost it, or forgotten the producer",
            _KEPT,
            "Start it again, and look for an unclean leader election or a lost disk",
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
            "another worker has taken this partition over, or the brokers have ended a transaction "
            "that took longer than "
            "its transaction.timeout.ms",
            _KEPT,
            f"Start it again. If it comes back, see whether two workers have the same "
            f"{PREFIX}INSTANCE_ID, or whether "
            "the brokers or this machine stand still for longer than 30 s",
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
            "Start it again: that ends the transaction. If it comes back, look at the replicas of "
            "__transaction_state",
        ),
    ),
    (
        "InvalidTransactionTimeout",
        Meaning(
            "transactions",
            "the brokers allow no transactions of 30 s",
            _NONE,
            "Raise their transaction.max.timeout.ms, the default is 15 minutes",
        ),
    ),
    (
        "TopicAlreadyExistsError",
        Meaning("topics", "the topic exists already", _NONE, "Run it again: what exists is left as it is"),
    ),
    (
        "InvalidPartitionsError InvalidReplicationAssignmentError",
        Meaning(
            "topics",
            "the brokers do not take this number of partitions",
            _NONE,
            f"Look at {PREFIX}PARTITIONS; a topic never gets fewer",
        ),
    ),
    (
        "InvalidReplicationFactorError",
        Meaning(
            "topics",
            f"there are fewer brokers than {PREFIX}REPLICATION asks for",
            _NONE,
            "Lower it, or wait until all brokers are up",
        ),
    ),
    (
        "InvalidConfigurationError",
        Meaning(
            "topics",
            "the brokers do not take a setting of a topic",
            _NONE,
            "docs/topics.md says which are needed",
        ),
    ),
    (
        "NotControllerError ReassignmentInProgress NoReassignmentInProgress TopicDeletionDisabled "
        "UnknownControllerId",
        Meaning(
            "topics",
            "the cluster is being changed at this moment",
            _NONE,
            "Wait for it to end, and try again",
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
            "a broker has failed and does not say why",
            _KEPT,
            "Its log at this moment has the reason; start it again",
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
            "a broker sent an answer that is meant for brokers, controllers or clients of another kind",
            _KEPT,
            f"See that {PREFIX}BROKERS names brokers, not controllers; else report it",
        ),
    ),
)

TABLE: Final[dict[str, Meaning]] = {name: meaning for names, meaning in ROWS for name in names.split()}
"""What an error means, by the name of its class."""

SIGNS: Final = {
    "SaslAuthenticationFailed": f"refuse this user: look at {PREFIX}SASL_USERNAME, {PREFIX}SASL_PASSWORD and "
    f"{PREFIX}SASL_MECHANISM",
    "UnsupportedSaslMechanism": f"do not take this {PREFIX}SASL_MECHANISM",
    "wrong signature": f"do not know {PREFIX}SASL_PASSWORD themselves: they are not who they claim to be",
    "(?i)(address|hostname) mismatch": f"show a certificate that is not for the names in {PREFIX}BROKERS",
    "certificate has expired": f"show a certificate that has expired, which no {PREFIX}SSL_CA makes good: renew theirs",
    "CERTIFICATE_VERIFY_FAILED": f"show a certificate that {PREFIX}SSL_CA does not vouch for",
    "ALERT_CERTIFICATE_REQUIRED": f"ask for a client certificate: set {PREFIX}SSL_CERT and {PREFIX}SSL_KEY",
    "ALERT_[A-Z_]*(CERTIFICATE|CA)": f"refuse the client certificate in {PREFIX}SSL_CERT: it has expired, or they "
    "do not trust who signed it",
}
"""What the errors of a connection say that is refused, by us or by them, and what that means, said of the brokers; the
first that fits."""

OWN: Final = {
    "SettingsError": (
        "a setting is unknown, missing or ill-typed, or contradicts another; the line names the variable",
        "`telefonie settings` prints all of them, and what each takes",
    ),
    "Unreachable": ("no broker answers, or none lets us in", "see the two lists below"),
    "TopicsError": (
        "a topic is missing, would break the processor as it is, or the brokers refuse to make or change it",
        "`telefonie topics check` says what is wrong with all of them, [topics.md](topics.md) why it matters",
    ),
    "NotAllowedError": (
        "an ACL is missing; the line names it",
        "have it added: [security.md](security.md#rights) lists all that are needed",
    ),
    "KafkaFailure": ("an error of Kafka's, in words", "see the last list below"),
    "RecordsLostError": (
        "the log does not hold what comes next, or is another one than before",
        "the line says what was lost, and how to go on without it on purpose",
    ),
    "UnreadableError": (
        "a batch of records in the log cannot be read",
        "see whether Kafka's own tools can; the line says how to go on without it",
    ),
    "RecordTooLargeError": (
        "a record is larger than its topic takes, also compressed and in its smallest form",
        "raise `max.message.bytes` of that topic to what the line says; nothing was written, and nothing is lost",
    ),
    "TopicRefusedError": (
        "a topic refuses batches, however small they are made",
        "`telefonie topics check` says what its settings must be; nothing was written, and nothing is lost",
    ),
    "StateLostError": (
        "the changelog does not hold the state that the group's last commit proves",
        "the line says how to go on without it on purpose: calls that were open would be half billed",
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
        "look at the brokers; start the worker again, it goes on from its last commit",
    ),
    "EmbeddedKafkaError": ("the embedded Kafka cannot be started", "the line says what is in its way"),
    "ChildEnded": ("a program that was started has ended by itself", "the end of its log is shown"),
    "NobodyAnswersError": (
        "no worker answers over HTTP",
        "give `--url`, or see with `telefonie status` whether one runs",
    ),
}
"""Errors of our own that people meet, by the names of their classes: when, and what to do."""
