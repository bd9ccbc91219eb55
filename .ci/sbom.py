"""Writes the software bill of materials to stdout: CycloneDX 1.6 JSON, the same for the same locks on one platform.

What is listed is what `requirements.lock` installs here and, as optional, the embedded Kafka: its Python packages and
its jars, with the SHA-256 that every start checks.
"""

import os
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def locked(file: str) -> Iterator[Requirement]:
    """The pins of a lock that apply to this platform."""
    for line in (ROOT / file).read_text().splitlines():
        if line[:1].isalnum():
            pin = Requirement(line.rstrip("\\"))
            if pin.marker is None or pin.marker.evaluate():
                yield pin


def package(pin: Requirement, scope: ComponentScope) -> Component:
    """A Python package."""
    return library(PackageURL("pypi", None, pin.name.lower(), str(pin.specifier).removeprefix("==")), scope)


def library(purl: PackageURL, scope: ComponentScope, *hashes: HashType) -> Component:
    """A component that has a package URL."""
    return Component(
        type=ComponentType.LIBRARY,
        group=purl.namespace,
        name=purl.name,
        version=purl.version,
        purl=purl,
        bom_ref=purl.to_string(),
        scope=scope,
        hashes=hashes,
    )


def jars() -> Iterator[Component]:
    """Apache Kafka, as `streams/embedded/jars.txt` pins it."""
    for line in (ROOT / "streams/embedded/jars.txt").read_text().splitlines():
        if not line.startswith("#"):
            place, sha256 = line.split()
            group, artifact, version = place.split(":")
            digest = HashType(alg=HashAlgorithm.SHA_256, content=sha256)
            yield library(PackageURL("maven", group, artifact, version), ComponentScope.OPTIONAL, digest)


def bill() -> Bom:
    """Everything, and a dependency of this project on all of it: the locks do not say which package needs which."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    embedded = {Requirement(each).name for each in project["optional-dependencies"]["embedded"]}
    components = [
        *(package(pin, ComponentScope.REQUIRED) for pin in locked("requirements.lock")),
        *(
            package(pin, ComponentScope.OPTIONAL)
            for pin in locked("requirements-dev.lock")
            if pin.name in embedded
        ),
        *jars(),
    ]
    whole = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        bom_ref=f"pkg:pypi/{project['name']}@{project['version']}",
    )
    serial = uuid5(NAMESPACE_URL, "\n".join(sorted(str(each.bom_ref) for each in [whole, *components])))
    bom = Bom(components=components, serial_number=serial)
    bom.metadata.component = whole
    # Reproducible builds set it.
    made = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    bom.metadata.timestamp = datetime.fromtimestamp(made, UTC)
    bom.register_dependency(whole, components)
    return bom


if __name__ == "__main__":
    sys.stdout.write(JsonV1Dot6(bill()).output_as_string(indent=2) + "\n")
