"""Errors of Kafka's protocol that are unknown to aiokafka: each is given a class."""

from __future__ import annotations

from typing import Any, Final

NEWER: Final = {
    73: "TopicDeletionDisabled",
    74: "FencedLeaderEpoch",
    75: "UnknownLeaderEpoch",
    76: "UnsupportedCompressionType",
    77: "StaleBrokerEpoch",
    78: "OffsetNotAvailable",
    80: "PreferredLeaderNotAvailable",
    81: "GroupMaxSizeReached",
    82: "FencedInstanceId",
    83: "EligibleLeadersNotAvailable",
    84: "ElectionNotNeeded",
    85: "NoReassignmentInProgress",
    86: "GroupSubscribedToTopic",
    87: "InvalidRecord",
    88: "UnstableOffsetCommit",
    89: "ThrottlingQuotaExceeded",
    90: "ProducerFencedError",
    91: "ResourceNotFound",
    92: "DuplicateResource",
    93: "UnacceptableCredential",
    94: "InconsistentVoterSet",
    95: "InvalidUpdateVersion",
    96: "FeatureUpdateFailed",
    97: "PrincipalDeserializationFailure",
    98: "SnapshotNotFound",
    99: "PositionOutOfRange",
    100: "UnknownTopicId",
    101: "DuplicateBrokerRegistration",
    102: "BrokerIdNotRegistered",
    103: "InconsistentTopicId",
    104: "InconsistentClusterId",
    105: "TransactionalIdNotFound",
    106: "FetchSessionTopicIdError",
    107: "IneligibleReplica",
    108: "NewLeaderElected",
    109: "OffsetMovedToTieredStorage",
    110: "FencedMemberEpoch",
    111: "UnreleasedInstanceId",
    112: "UnsupportedAssignor",
    113: "StaleMemberEpoch",
    114: "MismatchedEndpointType",
    115: "UnsupportedEndpointType",
    116: "UnknownControllerId",
    117: "UnknownSubscriptionId",
    118: "TelemetryTooLarge",
    119: "InvalidRegistration",
    120: "TransactionAbortable",
    121: "InvalidRecordState",
    122: "ShareSessionNotFound",
    123: "InvalidShareSessionEpoch",
    124: "FencedStateEpoch",
    125: "InvalidVoterKey",
    126: "DuplicateVoter",
    127: "VoterNotFound",
    128: "InvalidRegularExpression",
    129: "RebootstrapRequired",
    130: "StreamsInvalidTopology",
    131: "StreamsInvalidTopologyEpoch",
    132: "StreamsTopologyFenced",
    133: "ShareSessionLimitReached",
}


def name_all(errors: Any) -> None:
    """Give aiokafka (`errors` is its module of that name) a class for each Kafka error that it does not know.

    It treats them like its class for unknown errors.
    """
    for code, name in NEWER.items():
        if code not in errors.kafka_errors:
            errors.kafka_errors[code] = type(
                name, (errors.BrokerResponseError,), {"errno": code, "__module__": errors.__name__}
            )
