"""The rules of the source: which way imports point, what is pure, how long functions are."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.rooms import MODULES, PICTURE, ROOT, imports, needed_by, picture, room_of

from streams.cli import main

#: Room of `streams` (a folder, or a file beside them) -> the rooms that it may import, itself aside.
ALLOWED = {
    "errors": set[str](),
    "printable": set[str](),
    "records": set[str](),
    "codecs": {"records"},
    "settings": {"errors"},
    "logs": {"errors", "printable", "settings"},
    "embedded": {"errors"},
    "calls": {"records", "codecs"},
    "engine": {"errors", "records"},
    "kafka": {"records", "errors", "settings", "engine"},
    "wiring": {"records", "settings", "kafka", "engine", "calls", "codecs"},
    "operations": {"records", "errors", "settings", "kafka", "engine", "calls", "codecs", "wiring"},
    "worker": {"records", "errors", "settings", "kafka", "engine", "calls", "codecs", "wiring", "operations"},
    "__main__": {"cli"},
}
EDGE = {"cli", "__init__"}

PURE = ("codecs", "calls")
IMPURE_MODULES = {
    "faust",
    "mode",
    "aiokafka",
    "kafka",
    "logging",
    "time",
    "asyncio",
    "random",
    "socket",
    "os",
    "threading",
}
CLOCKS = {"now", "utcnow", "today"}
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50
#: Says why some are longer.
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FRIENDLY_HOSTS = re.compile(r"(localhost|127(\.\d+){3}|([\w-]+\.)*example\.(com|org|net)|json-schema\.org)$")


def modules(*rooms: str) -> list[str]:
    return [name for name in MODULES if room_of(name) in rooms]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_room_has_its_place() -> None:
    assert {room_of(name) for name in MODULES} == ALLOWED.keys() | EDGE


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name) in ALLOWED])
def test_imports_point_one_way(name: str) -> None:
    assert needed_by(name) <= ALLOWED[room_of(name)]


def test_the_picture_is_that_of_the_imports() -> None:
    assert PICTURE.read_text() == picture(), "run: make picture"


def module_of(imported: str) -> str | None:
    """The file of ours that an import takes something from: a name in it, or itself."""
    path = imported.replace(".", "/")
    tried = (f"{path}.py", f"{path}/__init__.py", f"{path.rpartition('/')[0]}.py")
    return next((each for each in tried if each in MODULES), None)


def test_no_module_needs_itself() -> None:
    needs = {
        name: {module_of(each) for each in imports(tree)} - {None, name} for name, tree in MODULES.items()
    }
    for _ in MODULES:  # those that need nothing more, one after the other
        needs = {name: left for name, all_of in needs.items() if (left := all_of & needs.keys())}
    assert not needs, f"a circle, and what needs it: {sorted(needs)}"


@pytest.mark.parametrize("name", modules(*PURE))
def test_the_domain_has_no_broker_no_log_and_no_clock(name: str) -> None:
    assert not {imported.split(".")[0] for imported in imports(MODULES[name])} & IMPURE_MODULES
    asked = {node.attr for node in ast.walk(MODULES[name]) if isinstance(node, ast.Attribute)}
    assert not asked & CLOCKS


@pytest.mark.parametrize("name", modules("calls"))
def test_no_float_comes_near_a_price(name: str) -> None:
    for function in functions(MODULES[name]):
        if not re.search("price|charge", ast.unparse(function)):
            continue
        for node in ast.walk(function):
            is_float = isinstance(node, ast.Constant) and isinstance(node.value, float)
            is_cast = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
            )
            assert not is_float, f"{function.name} works on prices and has a float"
            assert not is_cast, f"{function.name} works on prices and makes a float"


def listed() -> set[str]:
    """What the document names as longer than the rule, with the reason: paths of modules, names of functions."""
    section = ARCHITECTURE.read_text().partition("## Long modules and functions, and why\n")[2]
    entries = "\n".join(re.findall(r"^- .*\n(?:  .*\n)*", section, re.MULTILINE))
    return set(re.findall(r"`([^`]+)`", entries))


def test_the_long_modules_and_functions_are_those_that_the_document_names() -> None:
    long = {name for name in MODULES if len((ROOT / name).read_text().splitlines()) > LONGEST_MODULE}
    for tree in MODULES.values():
        for parent in ast.walk(tree):
            for each in ast.iter_child_nodes(parent):
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (each.end_lineno or 0) - each.lineno + 1
                    owner = f"{parent.name}." if isinstance(parent, ast.ClassDef) else ""
                    long |= {f"{owner}{each.name}"} if lines > LONGEST_FUNCTION else set()
    assert long == listed(), "split it, or say why not in docs/architecture.md"


@pytest.mark.parametrize("name", MODULES)
def test_the_source_knows_only_loopback_and_example_hosts(name: str) -> None:
    text = (ROOT / name).read_text()
    hosts = re.findall(r"https?://([\w.-]+)", text) + re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", text)
    assert not [host for host in hosts if not FRIENDLY_HOSTS.match(host)]


def test_no_two_test_modules_share_a_name() -> None:
    """Pytest imports them by their names alone: a run of all tests would end before the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []


def commands_in(text: str) -> set[tuple[str, ...]]:
    """Every `telefonie NAME [NAME]` in the code spans and code blocks of a document."""
    code = re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL)
    found = re.findall(r"\btelefonie ([a-z]+)(?: ([a-z]+))?", "\n".join(code))
    return {tuple(filter(None, names)) for names in found}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda path: path.name)
def test_the_commands_in_the_documents_exist(path: Path) -> None:
    context = click.Context(main)
    for name, *more in commands_in(path.read_text()):
        assert name in main.list_commands(context)
        group = main.get_command(context, name)
        if isinstance(group, click.Group) and more:
            assert more[0] in group.commands
