"""What will be deployed: overlays built by kustomize, the compose file as Compose understands it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("k8s/overlays/*/kustomization.yaml"))

Document = dict[str, Any]


def program(name: str, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program that was installed beside this Python, at the root of the repository."""
    command = [str(Path(sys.executable).parent / name), *args]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60)


@cache
def overlay(name: str) -> list[Document]:
    """The documents of an overlay."""
    built = program("kubectl", "kustomize", f"k8s/overlays/{name}")
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    """Those of one kind."""
    return [each for each in documents if each["kind"] == kind]


def templates(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """The pod templates, each with the name of what makes pods of it."""
    for each in documents:
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]


def ours(documents: list[Document], image: str = "telefonie/streams") -> dict[str, Document]:
    """The pod templates that run our image, however it is called, by the name of what makes pods of them."""
    return {
        name: template
        for name, template in templates(documents)
        if template["spec"]["containers"][0]["image"].startswith(image)
    }


def environment(template: Document, documents: list[Document]) -> dict[str, str]:
    """The variables of a template's container: those of ConfigMaps, and over them its own."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(documents, "ConfigMap")}
    (container,) = template["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]
    own = {each["name"]: each.get("value", "from-a-field") for each in container.get("env", [])}
    return found | own


def files(template: Document) -> Iterator[tuple[str, Document]]:
    """The folders of a template's container, each with the volume that is mounted there."""
    (container,) = template["spec"]["containers"]
    volumes = {each["name"]: each for each in template["spec"].get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        yield mount["mountPath"], volumes.get(mount["name"], {"claim": mount["name"]})


@cache
def composed() -> Document:
    """The compose file, completed by Compose; everything of every profile."""
    shown = program("docker-compose", "--profile", "*", "config", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def telefonie(env: Mapping[str, str]) -> dict[str, str]:
    """The settings among variables."""
    return {name: value for name, value in env.items() if name.startswith("TELEFONIE_")}
