"""Whether all events of a call lie in one partition: a look at the end of the calls topic (semantics, section 1)."""

from __future__ import annotations

from streams.codecs import CallDecoder
from streams.kafka.reading import LogRecord, partitions, reader, records, whole
from streams.kafka.topics import Finding
from streams.settings import PREFIX, Settings

#: Records of each partition that are looked at.
SAMPLE = 200


async def check_keys(settings: Settings) -> list[Finding]:
    """A warning when keys are not call ids; nothing where that does no harm, or the topic does not exist."""
    if settings.repartition:
        return []
    sample = _Sample(CallDecoder(settings.nulls))
    async with reader(settings) as consumer:
        logs = await whole(consumer, await partitions(consumer, settings.calls_topic))
        tails = {log: (max(first, end - SAMPLE), end) for log, (first, end) in logs.items()}
        async for record in records(consumer, tails):
            sample.add(record)
    said = sample.verdict()
    return [Finding(settings.calls_topic, "warning", said)] if said else []


class _Sample:
    """Keys and partitions of some call events."""

    def __init__(self, decoder: CallDecoder) -> None:
        self._decoder = decoder
        self.events = self.mismatches = 0
        self.places: dict[str, set[int]] = {}

    def add(self, record: LogRecord) -> None:
        """Look at one record; one that is no Call says nothing."""
        call_id = self._decoder.call_id(record.value, record.headers)
        if call_id is not None:
            self.events += 1
            self.mismatches += record.key != call_id.encode()
            self.places.setdefault(call_id, set()).add(record.partition)

    def verdict(self) -> str | None:
        """What is wrong, if anything is."""
        if not self.mismatches:
            return None
        parted = sum(len(places) > 1 for places in self.places.values())
        return (
            f"has keys that are not the call id: {self.mismatches} of the last {self.events} events, and {parted} of "
            f"their {len(self.places)} calls lie in several partitions. Unless producers keep all events of a call in "
            f"one, set {PREFIX}REPARTITION=true, with another {PREFIX}APP_ID"
        )
