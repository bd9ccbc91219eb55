"""docs/topics.md, written from the rules: python -m streams.kafka.topics > docs/topics.md."""

from __future__ import annotations

from streams.kafka.topics.rules import RULES, Rule
from streams.kafka.topics.specification import LARGEST, everything
from streams.settings import Settings

_INTRODUCTION = """\
# The topics and their settings

`telefonie topics create` creates the topics, and adds partitions if the calls topic has gained some.
`telefonie topics check` compares what exists with what is needed: an *error* means that the processor would not run, or
would run incorrectly; a *warning* means that it runs, but something may be lost, refused or slow.
`telefonie topics alter` gives topics the settings that `check` asks for, and changes no others; `--dry-run` prints the
commands of Kafka's own tool instead.

If the calls topic exists already, the others get as many partitions as it has. `min.insync.replicas` is the majority of
the replicas: with `TELEFONIE_REPLICATION=2` that is 2, so that writing stops while one broker is down. With 1 it could
continue, but would lose what was acknowledged if that broker were then lost. With 3 replicas, neither happens.

The changelogs of release 0.1 have `message.timestamp.type=CreateTime`. Everything works, but workers then know only the
time of their own clocks. `telefonie topics alter` changes this at any moment, without a restart: neither restoring nor
compaction uses the timestamps of a changelog.

## As created

By `topics create`, with the default settings; the first worker also creates the internal topics. The topic of dead
letters and the repartition topic get a larger `max.message.bytes` if the calls topic has one, so that records from
there fit unchanged.

"""

_LARGEST = """
## What fits

| topic | largest record (bytes) |
|---|---|
"""

_RULES = """
All are below Kafka's default of 1 MiB. Dead letters and repartitioned events may be as large as the records they come
from; where their topic does not take one, it is shrunk ([semantics](semantics.md#dead-letters)).

## Every setting of a topic

Those of Kafka 4, followed by those that only older brokers have. *Matters for* names the topics as in the table above.

| setting | matters for | right | otherwise | why |
|---|---|---|---|---|
"""


def reference() -> str:
    """The document."""
    return _INTRODUCTION + _made() + _LARGEST + _sizes() + _RULES + "".join(map(_row, RULES))


def _made() -> str:
    topics = everything(Settings(repartition=True))
    heads = {topic.role: topic.name for topic in topics}
    names = sorted({name for topic in topics for name in topic.config})
    configs = {topic.role: topic.config for topic in topics}
    lines = [
        f"| | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
        *(
            f"| `{name}` | " + " | ".join(configs[role].get(name, "") for role in heads) + " |"
            for name in names
        ),
    ]
    return "\n".join(lines) + "\n"


def _sizes() -> str:
    return "".join(f"| {role} | {size} |\n" for role, size in LARGEST.items())


def _row(rule: Rule) -> str:
    roles = ", ".join(rule.roles) or "none"
    return f"| `{rule.setting}` | {roles} | {rule.right or 'any'} | {rule.otherwise} | {rule.why} |\n"


if __name__ == "__main__":
    print(reference(), end="")
