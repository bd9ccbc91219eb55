"""A real Kubernetes control plane on loopback, whose nodes and pods only pretend to run: `.ci/control-plane` builds it.

The API server validates, admits and authorizes, the controllers roll out, scale and evict, the scheduler spreads. No
container runs, so probes, images and network policies have no effect.
"""

import json
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.manifests import ROOT, program

START_SECONDS = 120.0
READY_SECONDS = 1.5
"""So long a pod takes to become ready: a rollout that did not wait for it would be seen."""

_TOKEN = "of-this-test-only"
_NODES = {"node-a": "zone-1", "node-b": "zone-2", "node-c": "zone-3"}


def folder() -> Path:
    """Where the programs are."""
    return Path(_control_plane("folder"))


def missing() -> str:
    """What has not been built yet; empty when all is there."""
    return ", ".join(_control_plane("missing").split())


def _control_plane(what: str) -> str:
    said = subprocess.run([ROOT / ".ci" / "control-plane", what], capture_output=True, text=True, timeout=10)
    return said.stdout.strip()


class Cluster:
    """A running control plane, asked through kubectl."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def run(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """What kubectl says, whether or not it succeeds."""
        return program("kubectl", "--kubeconfig", str(self._kubeconfig), *args, stdin=stdin)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """What kubectl prints; it has to succeed."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *args: str) -> dict[str, Any]:
        """Objects, in the namespace of the manifests unless another is named."""
        return json.loads(self.kubectl("--namespace", "telefonie", "get", *args, "--output", "json"))

    def apply(self, text: str) -> None:
        """Make objects of a YAML stream as they are described."""
        self.kubectl("apply", "--server-side", "--filename", "-", stdin=text)


@contextmanager
def control_plane(work: Path) -> Iterator[Cluster]:
    """A control plane that runs meanwhile, with three nodes in three zones; `work` is an empty folder."""
    etcd, peers, api = _free_ports(3)
    kubeconfig = _prepare(work, api)
    with ExitStack() as stack:

        def start(name: str, *flags: str) -> None:
            stack.enter_context(_running(folder() / name, work / name, *flags))

        urls = [f"http://127.0.0.1:{port}" for port in (etcd, peers)]
        start(
            "etcd", f"--data-dir={work}/etcd-data", "--unsafe-no-fsync", f"--listen-client-urls={urls[0]}",
            f"--advertise-client-urls={urls[0]}", f"--listen-peer-urls={urls[1]}",
            f"--initial-advertise-peer-urls={urls[1]}", f"--initial-cluster=default={urls[1]}",
        )  # fmt: skip
        start(
            "kube-apiserver", f"--etcd-servers={urls[0]}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={api}", f"--cert-dir={work}/certs",
            "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={work}/sa.pub", f"--service-account-signing-key-file={work}/sa.key",
            f"--token-auth-file={work}/tokens.csv", "--authorization-mode=RBAC",
        )  # fmt: skip
        _wait("the API server", lambda: _answers(api))
        start(
            "kube-controller-manager", f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            f"--service-account-private-key-file={work}/sa.key", "--bind-address=127.0.0.1",
            "--secure-port=0", "--controllers=*,-nodeipam,-cloud-node-lifecycle,-service-lb-controller",
        )  # fmt: skip
        start(
            "kube-scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", "--secure-port=0",
        )  # fmt: skip
        start(
            "kwok", f"--kubeconfig={kubeconfig}", "--manage-all-nodes=true", f"--config={work}/stages.yaml",
            "--node-lease-duration-seconds=40",
        )  # fmt: skip
        cluster = Cluster(kubeconfig)
        _furnish(cluster)
        yield cluster


def _prepare(work: Path, api: int) -> Path:
    """The files that the programs read; returns the kubeconfig."""
    subprocess.run(["openssl", "genrsa", "-out", work / "sa.key", "2048"], check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", work / "sa.key", "-pubout", "-out", work / "sa.pub"],
        check=True,
        capture_output=True,
    )
    (work / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n")
    server = {"server": f"https://127.0.0.1:{api}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    (work / "kubeconfig").write_text(json.dumps(config))
    stages = list(yaml.safe_load_all((folder() / "stages.yaml").read_text()))
    for stage in stages:
        if stage["metadata"]["name"] == "pod-ready":
            stage["spec"]["delay"] = {"durationMilliseconds": int(READY_SECONDS * 1000)}
    (work / "stages.yaml").write_text(yaml.safe_dump_all(stages))
    return work / "kubeconfig"


def _furnish(cluster: Cluster) -> None:
    """Nodes, a class of disks, and the custom resources of KEDA and the Prometheus operator."""
    cluster.kubectl("apply", "--server-side", "--filename", str(folder() / "crds.yaml"))
    room = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone},
            },
            "status": {"allocatable": room, "capacity": room},
        }
        for name, zone in _NODES.items()
    ]
    disks = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "kwok-volume",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kwok.x-k8s.io/volume",
    }
    cluster.apply(yaml.safe_dump_all([*nodes, disks]))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")


@contextmanager
def _running(binary: Path, log: Path, *flags: str) -> Iterator[None]:
    """A program that runs meanwhile; what it says goes into a file."""
    with log.with_suffix(".log").open("w") as out:
        process = subprocess.Popen([binary, *flags], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        return [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(n)
        ]


def _answers(port: int) -> bool:
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {_TOKEN}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2, context=ssl._create_unverified_context()) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _wait(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"{what} is not ready within {START_SECONDS:.0f} s"
        time.sleep(0.2)
