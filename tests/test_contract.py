"""docs/semantics.md and docs/interface.md: every name in the code is there, and every cited section exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from streams.cli import main
from streams.codecs import ANOMALIES, REASONS, STATUSES, completed_call_schema, dead, kpi_window_schema
from streams.settings import TABLE as SETTINGS
from streams.worker.metrics.table import TABLE

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("*/*.md"))]
SOURCES = [
    path
    for folder in ("streams", "codecs", "tests", "benchmarks", "k8s")
    for path in (ROOT / folder).rglob("*.py")
]
SEMANTICS, INTERFACE = ((ROOT / "docs" / name).read_text() for name in ("semantics.md", "interface.md"))
TICKED = re.compile(r"`([^`\n]+)`")
#: `semantics, section 4`, `semantics, sections 4 and 5`, and a line may end in between.
CITED = re.compile(r"[Ss]emantics,\s+(?:#\s+)?sections?\s+(\d)(?:\s+and\s+(\d))?")


def named(text: str, section: str = "") -> set[str]:
    """What is between backticks, in a whole document or below one heading of the second level."""
    part = text.partition(f"\n## {section}")[2].partition("\n## ")[0] if section else text
    assert part, f"there is no section {section!r}"
    return set(TICKED.findall(part))


def commands(group: click.Group, *path: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name))


def test_each_cited_section_exists() -> None:
    sections = set(re.findall(r"^## (\d)\. ", SEMANTICS, re.MULTILINE))
    cited = {
        (path.relative_to(ROOT).as_posix(), number)
        for path in SOURCES + DOCUMENTS
        for numbers in CITED.findall(path.read_text())
        for number in numbers
        if number
    }
    assert len({path for path, _ in cited}) > 15, "the code cites the contract"
    assert [each for each in sorted(cited) if each[1] not in sections] == []


def first_cells(section: str) -> list[str]:
    rows = INTERFACE.partition(f"\n## {section}")[2].partition("\n## ")[0].splitlines()
    return [row.split(" | ")[0] for row in rows if row.startswith("| `")]


def test_the_interface_has_exactly_the_settings() -> None:
    assert {name for cell in first_cells("Settings") for name in TICKED.findall(cell)} == {
        each.name.upper() for each in SETTINGS
    }


def test_the_interface_has_exactly_the_commands() -> None:
    described = {
        re.split(r" (?=[\[A-Z])", name)[0]
        for cell in first_cells("The command")
        for name in TICKED.findall(cell)
    }
    assert described == set(commands(main))


def test_the_interface_has_exactly_the_metrics_with_their_labels() -> None:
    rows = INTERFACE.partition("\n## Metrics")[2].splitlines()
    found = {
        name: set(TICKED.findall(row.split("|")[2]))
        for row in rows
        if row.startswith("| `")
        for name in TICKED.findall(row.split("|")[1])
    }
    assert found == {each.name: set(each.labels) for each in TABLE}


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("2. ", {*REASONS}),
        ("2. ", {*dead._NAMES}),
        ("3. ", {*STATUSES}),
        ("5. ", {*ANOMALIES}),
        ("6. ", {*msgspec.json.decode(kpi_window_schema())["properties"]}),
        (
            "5. ",
            {*msgspec.json.decode(completed_call_schema())["properties"]}
            - {*msgspec.json.decode((ROOT / "codecs/call.schema.json").read_bytes())["properties"]},
        ),
    ],
    ids=["reasons", "dead-letter headers", "statuses", "anomalies", "windows", "completed calls"],
)
def test_each_name_is_in_its_section_of_the_semantics(section: str, names: set[str]) -> None:
    assert names - named(SEMANTICS, section) == set()


def test_each_link_between_the_documents_leads_somewhere() -> None:
    def anchors(path: Path) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings}

    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            if "://" not in target and not (path.exists() and (not anchor or anchor in anchors(path))):
                broken.append((document.name, target))
    assert broken == []


def test_the_walks_through_the_code_lead_to_what_they_name() -> None:
    document = ROOT / "CONTRIBUTING.md"
    walks = re.split(r"\n(?=\*\*)", document.read_text().partition("\n## Seven walks\n")[2])[1:]
    assert len(walks) == 7
    for walk in walks:
        linked = "\n".join((ROOT / name).read_text() for name in re.findall(r"\]\(([^)#]+)", walk))
        missing = [
            name
            for name in TICKED.findall(walk)
            if name.isidentifier() and not re.search(rf"\b{name}\b", linked)
        ]
        assert missing == [], walk
