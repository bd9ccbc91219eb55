"""The manifests on a real API server, with real controllers and a real scheduler, on simulated nodes.

`make k8s-check` builds what this needs; without it every test is skipped.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.cluster import Cluster, control_plane, folder, missing
from support.manifests import OVERLAYS, ROOT, of_kind, overlay

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORKERS = 3
SECONDS = 120.0
#: The oldest and the newest version of Kubernetes that the manifests are written for.
VERSIONS = ("1.29", "1.37")

every_overlay = pytest.mark.parametrize("name", OVERLAYS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane with the namespace of the manifests."""
    if absent := missing():
        pytest.skip(f"there is no {absent}: `make k8s-check` builds it")
    with control_plane(tmp_path_factory.mktemp("cluster")) as running:
        running.apply(yaml.safe_dump(of_kind(overlay("production"), "Namespace")[0]))
        yield running


@pytest.fixture(scope="module")
def production(cluster: Cluster) -> Cluster:
    """The production overlay, with as many workers as KEDA would have."""
    for secret in ("telefonie-kafka", "telefonie-kafka-admin", "telefonie-api"):
        cluster.kubectl("create", "secret", "generic", secret, "--namespace=telefonie", "--from-literal=a=b")
    apply(cluster, "k8s/overlays/production")
    in_namespace(cluster, "scale", "statefulset/telefonie-worker", f"--replicas={WORKERS}")
    while_it_lasts(cluster, lambda: ready(cluster) < WORKERS)
    return cluster


def in_namespace(cluster: Cluster, *args: str, stdin: str | None = None) -> str:
    """What kubectl prints about the namespace of the manifests."""
    return cluster.kubectl("--namespace=telefonie", *args, stdin=stdin)


def apply(cluster: Cluster, where: str) -> None:
    """Apply an overlay for good; the server has nothing to remark."""
    done = cluster.run("apply", "--server-side", "--validate=strict", "--kustomize", where)
    assert (done.returncode, done.stderr) == (0, "")


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    """The workers' pods that are not about to go."""
    found = cluster.get("pods", "--selector=app.kubernetes.io/component=worker")["items"]
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is ready."""
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def ready(cluster: Cluster) -> int:
    """How many workers are ready."""
    return sum(is_ready(each) for each in pods(cluster))


def while_it_lasts(cluster: Cluster, going_on: Callable[[], bool]) -> int:
    """The fewest workers that were ready meanwhile."""
    deadline, least = time.monotonic() + SECONDS, WORKERS
    while going_on():
        assert time.monotonic() < deadline, json.dumps(pods(cluster), indent=1)
        least = min(least, ready(cluster))
        time.sleep(0.1)
    return least


def images(cluster: Cluster) -> set[str]:
    """What the workers run."""
    return {each["spec"]["containers"][0]["image"] for each in pods(cluster)}


# -- what the server and others say of the manifests


@every_overlay
def test_the_server_takes_every_overlay_strictly(cluster: Cluster, name: str) -> None:
    flags = ("--server-side", "--dry-run=server", "--validate=strict")
    done = cluster.run("apply", *flags, "--kustomize", f"k8s/overlays/{name}")
    # A warning would be one of the restricted Pod Security standard, or of a version that is to go.
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(overlay(name))


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("StatefulSet", ("spec", "template", "spec", "terminationGraceSeconds"), 40, "field not declared"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), "1x", "maxUnavailable"),
        ("ScaledObject", ("spec", "minReplicaCont"), 2, "field not declared"),
        ("ServiceMonitor", ("spec", "jobLabel"), 7, "jobLabel"),
    ],
)
def test_the_server_would_refuse_a_mistake(
    cluster: Cluster, kind: str, path: tuple[str, ...], value: object, said: str
) -> None:
    wrong = json.loads(json.dumps(of_kind(overlay("production"), kind)[0]))
    place = wrong
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    flags = ("--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
    done = cluster.run("apply", *flags, stdin=json.dumps(wrong))
    assert done.returncode != 0
    assert said in done.stderr


@every_overlay
@pytest.mark.usefixtures("cluster")
def test_the_policy_linter_finds_nothing(name: str, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(yaml.safe_dump_all(overlay(name)))
    left_out = [
        # Tags are not moved, and a node must be able to start a worker again while the registry is away.
        "container-image-pull-policy",
        # Workers spread by topology constraints; fewer nodes than workers must not stop them.
        "statefulset-has-host-podantiaffinity",
    ]
    if name == "local":
        # The broker: its image wants that user and writes into itself. Ours are held to it in the other overlays.
        left_out += ["container-security-context-readonlyrootfilesystem"]
        left_out += ["container-security-context-user-group-id"]
    command = [str(folder() / "kube-score"), "score", "--output-format=ci", "--exit-one-on-warning"]
    command += ["--kubernetes-version=v1.34", *(f"--ignore-test={each}" for each in left_out), str(manifests)]
    scored = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert scored.returncode == 0, scored.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.usefixtures("cluster")
def test_the_schemas_of_older_and_newer_versions_hold(version: str, tmp_path: Path) -> None:
    manifests, custom = tmp_path / "manifests.yaml", ("keda.sh/", "monitoring.coreos.com/")
    documents = [
        each for name in OVERLAYS for each in overlay(name) if not each["apiVersion"].startswith(custom)
    ]
    manifests.write_text(yaml.safe_dump_all(documents))
    command = [sys.executable, "-m", "kubernetes_validate", "-k", version, "--strict", str(manifests)]
    env = {**os.environ, "PYTHONPATH": str(folder() / "schemas")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_namespace_takes_restricted_pods_only(cluster: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder", "namespace": "telefonie"},
        "spec": {"containers": [{"name": "of-root", "image": "any"}]},
    }
    done = cluster.run("apply", "--filename", "-", stdin=json.dumps(pod))
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in done.stderr


# -- what becomes of the production overlay


def test_the_topics_are_made_by_a_job_that_goes(production: Cluster) -> None:
    in_namespace(production, "wait", "--for=condition=Complete", "job/telefonie-topics", "--timeout=60s")
    assert production.get("job", "telefonie-topics")["spec"]["ttlSecondsAfterFinished"] == 60


def test_the_workers_lie_in_different_zones(production: Cluster) -> None:
    assert len({each["spec"]["nodeName"] for each in pods(production)}) == WORKERS


def test_the_workers_have_no_rights_and_no_token(production: Cluster) -> None:
    account = "--as=system:serviceaccount:telefonie:telefonie"
    for what in (["get", "pods"], ["get", "secrets"], ["create", "pods"]):
        asked = production.run("auth", "can-i", *what, account, "--namespace=telefonie")
        assert asked.stdout.strip() == "no"
    for pod in pods(production):
        assert {each["name"] for each in pod["spec"]["volumes"]} == {"tmp", "kafka", "api"}


def test_applying_again_leaves_the_number_of_workers_to_what_scales(production: Cluster) -> None:
    before = {each["metadata"]["uid"] for each in pods(production)}
    apply(production, "k8s/overlays/production")
    assert production.get("statefulset", "telefonie-worker")["spec"]["replicas"] == WORKERS
    assert {each["metadata"]["uid"] for each in pods(production)} == before


def test_a_new_image_and_the_old_one_again_roll_through_one_by_one(
    production: Cluster, tmp_path: Path
) -> None:
    (old,) = images(production)
    new = old.rpartition(":")[0] + ":next"
    change = {"resources": [os.path.relpath(ROOT / "k8s/overlays/production", tmp_path)]}
    change["images"] = [{"name": "telefonie/streams", "newTag": "next"}]  # type: ignore[list-item]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(change))
    for where, image in ((str(tmp_path), new), ("k8s/overlays/production", old)):
        # The Job of the topics cannot be changed while the last one is there; it goes by itself a minute after its end.
        in_namespace(production, "delete", "job", "telefonie-topics", "--ignore-not-found")
        apply(production, where)
        least = while_it_lasts(
            production, lambda image=image: images(production) != {image} or ready(production) < WORKERS
        )
        assert least == WORKERS - 1


def test_a_changed_setting_rolls_through_too(production: Cluster, tmp_path: Path) -> None:
    before = {each["metadata"]["uid"] for each in pods(production)}
    change: dict[str, Any] = {"resources": [os.path.relpath(ROOT / "k8s/overlays/production", tmp_path)]}
    change["configMapGenerator"] = [
        {"name": "telefonie-settings", "behavior": "merge", "literals": ["TELEFONIE_LOG_LEVEL=warning"]}
    ]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(change | {"namespace": "telefonie"}))
    in_namespace(production, "delete", "job", "telefonie-topics", "--ignore-not-found")
    apply(production, str(tmp_path))

    def going_on() -> bool:
        there = pods(production)
        return bool(before & {each["metadata"]["uid"] for each in there}) or ready(production) < WORKERS

    assert while_it_lasts(production, going_on) == WORKERS - 1


def test_one_worker_at_a_time_can_be_evicted(production: Cluster) -> None:
    def evict(name: str) -> subprocess.CompletedProcess[str]:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": "telefonie"},
        }
        path = f"/api/v1/namespaces/telefonie/pods/{name}/eviction"
        return production.run("create", "--raw", path, "--filename", "-", stdin=json.dumps(body))

    budget_is_open(production)
    assert evict("telefonie-worker-0").returncode == 0
    refused = evict("telefonie-worker-1")
    assert refused.returncode != 0
    assert "would violate the pod's disruption budget" in refused.stderr
    while_it_lasts(production, lambda: ready(production) < WORKERS)


def budget_is_open(cluster: Cluster) -> None:
    """Wait until the budget allows an eviction again."""
    while_it_lasts(
        cluster, lambda: cluster.get("pdb", "telefonie-worker")["status"].get("disruptionsAllowed") != 1
    )


def test_nodes_are_drained_without_two_workers_missing(production: Cluster) -> None:
    budget_is_open(production)
    nodes = sorted(each["spec"]["nodeName"] for each in pods(production))[:2]
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=50s")
    with ThreadPoolExecutor() as threads:
        drains = [threads.submit(production.run, "drain", node, *flags) for node in nodes]
        least = while_it_lasts(production, lambda: not all(each.done() for each in drains))
    assert [each.result().returncode for each in drains] == [0, 0]
    assert least == WORKERS - 1
    while_it_lasts(production, lambda: ready(production) < WORKERS)
    assert len({each["spec"]["nodeName"] for each in pods(production)} & set(nodes)) == 0
    production.kubectl("uncordon", *nodes)


def test_the_state_moves_to_disks_of_each_workers_own(production: Cluster) -> None:
    in_namespace(production, "delete", "statefulset", "telefonie-worker")
    in_namespace(production, "delete", "job", "telefonie-topics", "--ignore-not-found")
    apply(production, "k8s/overlays/production-rocksdb")
    in_namespace(production, "scale", "statefulset/telefonie-worker", f"--replicas={WORKERS}")
    while_it_lasts(production, lambda: ready(production) < WORKERS)
    claims = {each["metadata"]["name"]: each["status"]["phase"] for each in production.get("pvc")["items"]}
    assert claims == {f"state-telefonie-worker-{n}": "Bound" for n in range(WORKERS)}
    # Fewer workers keep their disks, for when there are more again.
    in_namespace(production, "scale", "statefulset/telefonie-worker", "--replicas=1")
    while_it_lasts(production, lambda: len(pods(production)) > 1)
    assert len(production.get("pvc")["items"]) == WORKERS
