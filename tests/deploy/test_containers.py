"""The Dockerfile and the compose file: linted, and in agreement with the code and with each other."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from support.container import IMAGE
from support.manifests import ROOT, composed, program, telefonie

from streams.settings import Settings, parse_duration
from streams.worker.worker import STOP_SECONDS

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    linted = program("hadolint", "--no-color", "Dockerfile")
    assert linted.returncode == 0, linted.stdout


def test_the_image_is_of_this_version_and_stops_as_the_worker_does() -> None:
    said = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    assert said["VERSION"] == PROJECT["version"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", said["BASE"]), "pinned, and as small as there is"
    final = DOCKERFILE.rpartition("\nFROM ")[2].splitlines()
    assert "USER 65532:65532" in final
    assert "STOPSIGNAL SIGTERM" in final
    assert f"EXPOSE {Settings().http_port}" in final
    assert 'ENTRYPOINT ["telefonie"]' in final
    assert not [line for line in final if line.startswith("RUN")], "all is made in the stage before"


def test_only_locked_packages_come_into_the_image() -> None:
    installs = re.findall(r"pip .*? install ((?:.*\\\n)*.*)", DOCKERFILE)
    assert len(installs) == 2
    assert "--require-hashes --requirement requirements.lock" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def test_compose_understands_the_file() -> None:
    assert set(composed()["services"]) == {
        "kafka", "topics", "worker", "simulator", "prometheus", "grafana"
    }  # fmt: skip


def test_the_settings_of_the_services_can_be_used() -> None:
    for name in ("topics", "worker", "simulator"):
        service = composed()["services"][name]
        settings = Settings.load(telefonie(service["environment"]))
        assert settings.brokers == "kafka:9092"
        assert settings.http_bind == "0.0.0.0"
        assert service["image"] == "telefonie/streams:dev"


def test_the_services_run_our_image_as_the_cluster_does() -> None:
    for name in ("topics", "worker", "simulator"):
        service = composed()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_worker_waits_for_the_topics_and_is_given_time_to_stop() -> None:
    services = composed()["services"]
    assert services["worker"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    assert services["topics"]["restart"].startswith("on-failure")
    assert parse_duration(services["worker"]["stop_grace_period"]) > STOP_SECONDS * 1000
    (port,) = services["worker"]["ports"]
    assert port["target"] == int(services["worker"]["environment"]["TELEFONIE_HTTP_PORT"])
    assert "published" not in port, "several workers share no port"


def test_the_broker_is_the_one_that_the_tests_know() -> None:
    assert composed()["services"]["kafka"]["image"] == IMAGE


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not on the PATH (Debian: apt install prometheus)"
)
def test_prometheus_takes_its_configuration_and_our_rules(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(composed()["configs"]["prometheus"]["content"])
    for volume in composed()["services"]["prometheus"]["volumes"]:
        if volume["type"] == "bind":
            assert Path(volume["target"]).parent == Path("/etc/prometheus"), "beside the configuration"
            shutil.copy(volume["source"], tmp_path)
    command = ["promtool", "check", "config", str(config)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout


def test_grafana_finds_its_dashboard_and_asks_that_prometheus() -> None:
    configs, grafana = composed()["configs"], composed()["services"]["grafana"]
    (provider,) = yaml.safe_load(configs["grafana-dashboards"]["content"])["providers"]
    (dashboard,) = grafana["volumes"]
    assert Path(dashboard["target"]).parent == Path(provider["options"]["path"])
    assert json.loads(Path(dashboard["source"]).read_text())["panels"]
    (source,) = yaml.safe_load(configs["grafana-datasource"]["content"])["datasources"]
    (port,) = composed()["services"]["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port['target']}"
    targets = {each["target"] for each in grafana["configs"]}
    assert targets == {
        f"/etc/grafana/provisioning/{kind}.yml" for kind in ("datasources/prometheus", "dashboards/telefonie")
    }


def test_every_port_is_for_this_machine_only() -> None:
    for service in composed()["services"].values():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
