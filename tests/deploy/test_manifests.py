"""What the manifests say agrees with the code, with each other, and with the rules for pods."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import (
    OVERLAYS,
    ROOT,
    environment,
    files,
    of_kind,
    ours,
    overlay,
    program,
    telefonie,
    templates,
)

from streams.engine.config import Config
from streams.settings import TABLE, Settings
from streams.worker.metrics import Metrics
from streams.worker.metrics.table import TABLE as METRICS
from streams.worker.monitor import Monitor
from streams.worker.web import WebServer
from streams.worker.worker import STOP_SECONDS

PRODUCTION = [name for name in OVERLAYS if name.startswith("production")]
KNOWN = {setting.variable for setting in TABLE}
SECRET = {setting.variable for setting in TABLE if setting.secret}

every_overlay = pytest.mark.parametrize("name", OVERLAYS)
every_production = pytest.mark.parametrize("name", PRODUCTION)


def the(kind: str, documents: list[dict[str, Any]], name: str = "telefonie-worker") -> dict[str, Any]:
    """The one object of a kind and name."""
    (found,) = [each for each in of_kind(documents, kind) if each["metadata"]["name"] == name]
    return found


def worker(name: str) -> dict[str, Any]:
    """The workers' container."""
    return ours(overlay(name))["telefonie-worker"]["spec"]["containers"][0]


def served() -> set[str]:
    """The paths that a worker's web server answers."""
    settings = Settings()
    server = WebServer(settings, Metrics(settings), Monitor(settings, Metrics(settings)))
    return {resource.canonical for resource in server._runner.app.router.resources()}


def settings_of(name: str, tmp_path: Path) -> Settings:
    """The settings that a worker of the overlay starts with; what a Secret would hold is made up."""
    env = telefonie(environment(ours(overlay(name))["telefonie-worker"], overlay(name)))
    env = {variable: value.replace("$(POD_NAME)", "pod-0") for variable, value in env.items()}
    (store,) = (setting for setting in TABLE if setting.name == "STORE")
    if env.get("TELEFONIE_STORE", "memory") not in store.kind.takes:
        pytest.skip(f"this version has no such store: {store.variable} takes {store.kind.takes}")
    for variable in [each for each in env if each.endswith("_FILE")]:
        content = tmp_path / variable
        content.write_text("-----BEGIN CERTIFICATE-----" if "_SSL_" in variable else "made-up")
        env[variable] = str(content)
    return Settings.load(env)


def test_there_are_overlays_with_and_without_disks_for_both_autoscalers() -> None:
    assert {"local", "production", "production-rocksdb", "production-hpa"} <= set(OVERLAYS)
    assert "volumeClaimTemplates" not in the("StatefulSet", overlay("production"))["spec"]
    assert the("StatefulSet", overlay("production-rocksdb"))["spec"]["volumeClaimTemplates"]
    assert of_kind(overlay("production"), "ScaledObject")
    assert not of_kind(overlay("production"), "HorizontalPodAutoscaler")
    assert of_kind(overlay("production-hpa"), "HorizontalPodAutoscaler")
    assert not of_kind(overlay("production-hpa"), "ScaledObject")


@every_overlay
def test_nothing_that_a_platform_expects_is_missing(name: str) -> None:
    kinds = {each["kind"] for each in overlay(name)}
    expected = "Namespace ServiceAccount ConfigMap Service StatefulSet Job PodDisruptionBudget NetworkPolicy"
    assert set(expected.split()) <= kinds
    if name in PRODUCTION:
        assert {"ServiceMonitor", "PrometheusRule"} <= kinds
        # Whatever scales says how many there are; an apply must not set it back.
        assert "replicas" not in the("StatefulSet", overlay(name))["spec"]


# -- settings


@every_overlay
def test_every_setting_exists(name: str) -> None:
    for template in ours(overlay(name)).values():
        for variable in telefonie(environment(template, overlay(name))):
            assert variable in KNOWN or variable.removesuffix("_FILE") in KNOWN, variable


@every_overlay
def test_the_settings_can_be_used_and_are_right_for_a_pod(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path)
    assert settings.http_bind == "0.0.0.0"
    assert settings.instance_id == "pod-0"
    assert settings.log_format == "json"


@every_overlay
def test_a_worker_is_known_by_the_name_of_its_pod(name: str) -> None:
    first, *others = worker(name)["env"]
    # Kubernetes replaces $(POD_NAME) only in what follows it.
    assert first == {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    env = {each["name"]: each["value"] for each in others}
    assert env["TELEFONIE_INSTANCE_ID"] == "$(POD_NAME)"
    service, port = the("StatefulSet", overlay(name))["spec"]["serviceName"], Settings().http_port
    assert env["TELEFONIE_HTTP_ADVERTISE"] == f"http://$(POD_NAME).{service}:{port}"


@every_overlay
def test_secrets_are_only_referred_to(name: str) -> None:
    assert not of_kind(overlay(name), "Secret")
    for template in ours(overlay(name)).values():
        env = environment(template, overlay(name))
        assert not SECRET & env.keys(), "a secret is given as a file"
        secrets = [folder for folder, volume in files(template) if "secret" in volume]
        for variable, path in env.items():
            if variable.endswith("_FILE"):
                assert str(Path(path).parent) in secrets, variable


@every_production
def test_production_talks_to_kafka_and_about_calls_only_with_secrets(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path)
    assert settings.security_protocol == "SASL_SSL"
    assert settings.api_token is not None
    assert settings.replication == 3


# -- the worker's life


@every_overlay
def test_the_worker_is_given_the_time_that_it_takes_to_stop(name: str) -> None:
    grace = ours(overlay(name))["telefonie-worker"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= STOP_SECONDS + 10


@every_overlay
def test_a_worker_that_waits_for_the_brokers_ends_by_itself_before_it_is_ended(name: str) -> None:
    probe = worker(name)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > Config.lost_after / 1000


@every_overlay
def test_probes_and_ports_agree_with_the_code(name: str) -> None:
    container = worker(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    env = environment(ours(overlay(name))["telefonie-worker"], overlay(name))
    assert ports == {"http": int(env["TELEFONIE_HTTP_PORT"])}
    paths = {}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[kind]["httpGet"]
        assert asked["port"] in ports
        paths[kind] = asked["path"]
    # Recovery may take long: only readiness waits for it.
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    assert {*paths.values(), "/metrics"} <= served()


@every_overlay
def test_services_and_monitors_find_the_workers(name: str) -> None:
    documents = overlay(name)
    labels = ours(documents)["telefonie-worker"]["metadata"]["labels"]
    services = [each for each in of_kind(documents, "Service") if "telefonie" in each["metadata"]["name"]]
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    assert the("Service", documents)["spec"]["clusterIP"] == "None"
    assert the("StatefulSet", documents)["spec"]["serviceName"] == "telefonie-worker"
    for monitor in of_kind(documents, "ServiceMonitor"):
        selected = [
            each["metadata"]["name"]
            for each in services
            if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        ]
        assert selected == ["telefonie-http"], "each worker is scraped once"
        assert [(each["port"], each["path"]) for each in monitor["spec"]["endpoints"]] == [
            ("http", "/metrics")
        ]


# -- how many


def most_replicas(documents: list[dict[str, Any]]) -> Iterator[int]:
    """All that say how many workers there may be."""
    yield the("StatefulSet", documents)["spec"].get("replicas", 1)
    for each in of_kind(documents, "ScaledObject"):
        yield each["spec"]["maxReplicaCount"]
    for each in of_kind(documents, "HorizontalPodAutoscaler"):
        yield each["spec"]["maxReplicas"]


@every_production
def test_alerts_expect_as_many_workers_as_the_autoscaler_keeps(name: str) -> None:
    documents = overlay(name)
    (rules,) = of_kind(documents, "PrometheusRule")
    expected = next(
        rule["expr"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if rule.get("record") == "telefonie:workers_expected"
    )
    kept = [each["spec"]["minReplicaCount"] for each in of_kind(documents, "ScaledObject")]
    kept += [each["spec"]["minReplicas"] for each in of_kind(documents, "HorizontalPodAutoscaler")]
    assert [expected] == [f"vector({least})" for least in kept]


@every_overlay
def test_there_is_a_partition_for_every_worker(name: str) -> None:
    env = environment(ours(overlay(name))["telefonie-topics"], overlay(name))
    assert max(most_replicas(overlay(name))) <= int(env["TELEFONIE_PARTITIONS"])


def test_keda_watches_the_group_and_the_topic_of_the_workers(tmp_path: Path) -> None:
    settings = settings_of("production", tmp_path)
    scaled = the("ScaledObject", overlay("production"))["spec"]
    assert scaled["scaleTargetRef"] == {"kind": "StatefulSet", "name": "telefonie-worker"}
    lag = next(each["metadata"] for each in scaled["triggers"] if each["type"] == "kafka")
    assert lag["bootstrapServers"] == settings.brokers
    assert lag["consumerGroup"] == settings.app_id
    assert lag["topic"] == settings.calls_topic
    assert lag["sasl"] == settings.sasl_mechanism.lower().replace("-", "_").replace("sha_", "sha")  # type: ignore[union-attr]


def test_the_autoscaler_asks_for_a_metric_that_workers_have() -> None:
    scaler = the("HorizontalPodAutoscaler", overlay("production-hpa"))["spec"]
    external = next(each["external"] for each in scaler["metrics"] if each["type"] == "External")
    assert external["metric"]["name"] in {metric.name for metric in METRICS}


# -- rules for pods


@every_overlay
def test_every_pod_keeps_the_restricted_standard(name: str) -> None:
    for maker, template in templates(overlay(name)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, maker
        assert spec["securityContext"]["runAsUser"] > 0, maker
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, maker
        assert spec["automountServiceAccountToken"] is False, maker
        assert spec["enableServiceLinks"] is False, maker
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), maker
        assert all({"emptyDir", "secret"} & volume.keys() for volume in spec.get("volumes", [])), maker
        for container in spec["containers"]:
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, maker
            assert rights["capabilities"] == {"drop": ["ALL"]}, maker
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), maker
            assert "memory" in container["resources"]["limits"], maker
    (namespace,) = of_kind(overlay(name), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_our_pods_write_to_volumes_only(name: str) -> None:
    for template in ours(overlay(name)).values():
        assert template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    folders = dict(files(ours(overlay(name))["telefonie-worker"]))
    assert folders["/tmp"]["emptyDir"]["medium"] == "Memory", "a private key may lie there for a moment"
    env = environment(ours(overlay(name))["telefonie-worker"], overlay(name))
    if env.get("TELEFONIE_STORE") == "rocksdb":
        claims = the("StatefulSet", overlay(name))["spec"]["volumeClaimTemplates"]
        assert [each["metadata"]["name"] for each in claims] == [folders[env["TELEFONIE_DATA_DIR"]]["claim"]]


@every_overlay
def test_what_goes_out_of_the_workers_is_names_and_kafka_and_each_other(name: str) -> None:
    documents = overlay(name)
    env = environment(ours(documents)["telefonie-worker"], documents)
    brokers = {int(address.rpartition(":")[2]) for address in env["TELEFONIE_BROKERS"].split(",")}
    both = the("NetworkPolicy", documents, "telefonie")["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in both
    assert [{port["port"] for port in rule["ports"]} for rule in both["egress"]] == [{53}, brokers]
    assert all(rule["to"] for rule in both["egress"])
    own = the("NetworkPolicy", documents)["spec"]
    assert own["egress"] == [
        {"to": [{"podSelector": own["podSelector"]}], "ports": [{"protocol": "TCP", "port": "http"}]}
    ]
    for template in ours(documents).values():
        assert both["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


@every_overlay
def test_one_worker_may_be_missing_at_a_time(name: str) -> None:
    documents = overlay(name)
    budget = the("PodDisruptionBudget", documents)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == the("StatefulSet", documents)["spec"]["selector"]


def test_production_runs_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert worker("production")["image"] == f"telefonie/streams:{version}"


def test_the_overlay_in_the_guide_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    (example,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", text, re.DOTALL)
    where = os.path.relpath(ROOT / "k8s/overlays/production", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        example.replace("../telefonie-streams/k8s/overlays/production", where)
    )
    built = program("kubectl", "kustomize", str(tmp_path))
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    env = environment(ours(documents, "REGISTRY/telefonie/streams:")["telefonie-topics"], documents)
    assert max(most_replicas(documents)) == int(env["TELEFONIE_PARTITIONS"]) == 24
    lag = next(each["metadata"] for each in the("ScaledObject", documents)["spec"]["triggers"])
    assert lag["bootstrapServers"] == env["TELEFONIE_BROKERS"]
