"""Whether all events of a call are in one partition: samples the end of the calls topic (semantics, section 1)."""

from __future__ import annotations

from streams.codecs import CallDecoder
from streams.kafka.reading import LogRecord, partitions, reader, records, whole
from streams.kafka.topics import Finding
from streams.settings import PREFIX, Settings

#: How many records of each partition are sampled.
SAMPLE = 200


async def check_keys(settings: Settings) -> list[Finding]:
    """A warning if keys are not call ids; nothing if that does no harm, or the topic does not exist."""
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
        """Look at one record; one that is not a Call is ignored."""
        call_id = self._decoder.call_id(record.value, record.headers)
        if call_id is not None:
            self.events += 1
            self.mismatches += record.key != call_id.encode()
            self.places.setdefault(call_id, set()).add(record.partition)

    def verdict(self) -> str | None:
        """What is wrong, if anything."""
        if not self.mismatches:
            return None
        parted = sum(len(places) > 1 for places in self.places.values())
        return (
            f"has keys that are not the call id: {self.mismatches} of the last {self.events} events, "
            f"and {parted} of their {len(self.places)} calls are in several partitions. Unless "
            f"producers keep all events of a call in one, set {PREFIX}REPARTITION=true, with another "
            f"{PREFIX}APP_ID"
        )
