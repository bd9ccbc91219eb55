"""`.ci/venv`: which Python is found, and that an interrupted, moved or outdated .venv is repaired."""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

ROOT = Path(__file__).parent.parent
#: A build backend in a file, since there is nothing to install one from.
BACKEND = """
import zipfile
def build_editable(folder, *_):
    with zipfile.ZipFile(folder + "/ours-0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("ours.py", "")
        wheel.writestr("ours-0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: ours\\nVersion: 0\\n")
        wheel.writestr("ours-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("ours-0.dist-info/RECORD", "")
    return "ours-0-py3-none-any.whl"
"""
#: Makes an environment in which pip need not be installed first, which takes seconds: it is ours.
QUICK = f"""case $2 in
venv)
    {sys.executable} -m venv --without-pip "$3"
    echo {sysconfig.get_path("purelib")} >"$3/{Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)}/pip.pth" ;;
*) exec {sys.executable} "$@" ;;
esac"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """`machine("name", script)` puts a program of this name on the machine's PATH, which is empty before."""
    (tmp_path / "bin").mkdir()

    def install(name: str, script: str) -> Path:
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return install


def setup(tmp_path: Path, *arguments: str, root: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin" if root != ROOT else str(tmp_path / "bin")
    return subprocess.run(
        ["/bin/sh", root / ".ci" / "venv", *arguments],
        env={"PATH": path, "HOME": str(tmp_path), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


SHIM = 'echo "pyenv: python: command not found" >&2; exit 127'
#: As Debian's without python3-venv.
BARE = f"""exec {sys.executable} -c '
import sys
sys.modules["ensurepip"] = None
sys.argv = ["-c"]
exec(sys.stdin.read())' <<CODE
$2
CODE"""
OLD = f"""exec {sys.executable} -c '
import sys
sys.version_info = (3, 10, 13)
exec(sys.stdin.read())' <<CODE
$2
CODE"""
GOOD = f'exec {sys.executable} "$@"'


def test_an_interpreter_is_one_that_runs(tmp_path: Path, machine: Callable[..., Path]) -> None:
    for name, script in {"python3.14": SHIM, "python3.13": BARE, "python3.11": OLD}.items():
        machine(name, script)
    good = machine("python3", GOOD)
    found = setup(tmp_path, "interpreter")
    assert (found.stdout, found.stderr, found.returncode) == (f"{good}\n", "", 0)
    named = setup(tmp_path, "interpreter", PYTHON=sys.executable)
    assert named.stdout == f"{sys.executable}\n"


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, machine: Callable[..., Path]) -> None:
    shim, bare, old = (
        machine(*each) for each in (("python3.14", SHIM), ("python3.13", BARE), ("python3", OLD))
    )
    nothing = setup(tmp_path, "interpreter")
    assert nothing.returncode == 1
    assert nothing.stdout == ""
    (said,) = nothing.stderr.splitlines()
    version = "{}.{}".format(*sys.version_info)
    assert said.startswith("no suitable Python: install one of 3.11 to 3.14 with its venv module")
    assert f"{shim} does not run; {bare} lacks ensurepip (Debian: apt install python{version}-venv)" in said
    assert f"{old} is cpython 3.10" in said


def test_only_the_named_interpreter_is_tried(tmp_path: Path, machine: Callable[..., Path]) -> None:
    machine("python3", GOOD)
    named = setup(tmp_path, "interpreter", PYTHON="python3.99")
    assert (named.returncode, named.stdout) == (1, "")
    assert "python3.99 does not run" in named.stderr


def test_pyenv_is_asked_for_what_its_shims_hide(tmp_path: Path, machine: Callable[..., Path]) -> None:
    machine("python3.13", SHIM)
    hidden = tmp_path / ".pyenv" / "versions" / "3.13.0" / "bin"
    hidden.mkdir(parents=True)
    (hidden / "python3.13").write_text(f"#!/bin/sh\n{GOOD}\n")
    (hidden / "python3.13").chmod(0o755)
    assert setup(tmp_path, "interpreters").stdout == f"{hidden / 'python3.13'}\n"


def test_what_is_whole_stays_and_what_is_not_is_made_again(
    tmp_path: Path, machine: Callable[..., Path]
) -> None:
    python = machine("python3", QUICK)
    project = tmp_path / "project"
    copytree(ROOT / ".ci", project / ".ci")
    (project / "requirements-dev.lock").write_text("")
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "backend.py").write_text(BACKEND)
    venv = project / ".venv"

    def made() -> list[str]:
        done = setup(tmp_path, root=project, PYTHON=str(python))
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        subprocess.run([venv / "bin/python", "-c", "import ours"], check=True, timeout=60)
        return [line.split()[0] for line in done.stdout.splitlines()]

    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)  # as `python -m venv` without ensurepip leaves it
    assert made() == ["making", "installing"]
    assert made() == []
    (project / "pyproject.toml").write_text(PROJECT + "# changed\n")
    assert made() == ["installing"]
    (venv / "bin/python").unlink()
    assert made() == ["making", "installing"]
    project.rename(tmp_path / "moved")
    project, venv = tmp_path / "moved", tmp_path / "moved" / ".venv"
    assert made() == ["making", "installing"]


def test_the_versions_are_those_of_the_package() -> None:
    required = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    accepted = re.search(r"\(3, (\d+)\) <= sys.version_info < \(3, (\d+)\)", (ROOT / ".ci/venv").read_text())
    assert required
    assert accepted
    assert required.groups() == accepted.groups()
