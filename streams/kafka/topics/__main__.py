"""docs/topics.md, written from the rules: python -m streams.kafka.topics > docs/topics.md."""

from __future__ import annotations

from streams.kafka.topics.rules import RULES, Rule
from streams.kafka.topics.specification import LARGEST, everything
from streams.settings import Settings

_INTRODUCTION = """\
# The topics and their settings

`telefonie topics create` makes the topics, and adds partitions where the calls topic has got more. `telefonie topics
check` compares what exists with what is needed: *error* means that the processor would not run, or would run wrong,
*warning* that it runs and something may be lost, refused or slow. `telefonie topics alter` gives topics the settings
that `check` asks for and touches no others; `--dry-run` prints the commands of Kafka's own tool instead.

Beside an existing calls topic the others get as many partitions as it has. `min.insync.replicas` is the majority of
the replicas: with `TELEFONIE_REPLICATION=2` that is 2, so that writing stops while one broker is down. It could go on
with 1, and then lose what was acknowledged when the broker that went on is lost. Use 3 replicas for both.

Topics of the first release: their changelogs have `message.timestamp.type=CreateTime`. All works on, only that workers
then know no time but that of their own clocks; `telefonie topics alter` changes it, at any moment and without a
restart. Neither restoring nor compaction uses the timestamps of a changelog.

## As they are made

With the default settings, by `topics create`; the internal ones by the first worker, too. The dead letters' and the
repartition topic get a greater `max.message.bytes` where the calls topic has one, so that what comes from there fits
whole.

"""

_LARGEST = """
## What fits

| topic | greatest record (bytes) |
|---|---|
"""

_RULES = """
All lie below Kafka's default of 1 MiB. Dead letters and repartitioned events may be larger, as large as what came
in; where their topic does not take one it is shrunk: see [records.md](records.md).

## Every setting of a topic

Those of Kafka 4, and at the end those that older brokers have beside them. *matters for* names topics as they are
called above.

| setting | matters for | right | else | why |
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
