"""Another aiokafka stops the worker before it has done anything."""

import re
from pathlib import Path

import pytest
from aiokafka.producer.sender import Sender

import streams.engine
from streams.engine.supported import PARTS, check

#: Of Faust and of tuples.
_OTHERS = {"_fetcher", "_thread", "_replace"}


def test_this_aiokafka_has_all_that_is_used() -> None:
    check()


def test_a_part_that_is_missing_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"missing: \['Sender\._gone'\]"):
        check({Sender: ("_find_coordinator", "_gone")})


def test_whatever_private_name_the_engine_uses_is_looked_at() -> None:
    known = {name for names in PARTS.values() for name in names}
    for module in Path(streams.engine.__file__).parent.glob("*.py"):
        text = module.read_text()
        used = set(re.findall(r"(?<!self)(?<!cls)(?<!super\(\))\.(_[a-z]\w*)", text))
        own = set(re.findall(r"(?:def |self\.|\n    )(_[a-z]\w*)", text))
        assert used - own - known - _OTHERS == set(), module.name
