"""User data: rendering, its size, and cloud-init's own schema."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml

from infra import cloudinit

VARIABLES: Mapping[str, Mapping[str, str]] = {
    "search": {
        "hostname": "search-0",
        "region": "cn-hangzhou",
        "oss_endpoint": "oss-cn-hangzhou-internal.aliyuncs.com",
        "config_bucket": "ragrec-dev-1-config",
        "config_key": "search/boot.json",
        "cluster_name": "ragrec-dev",
        "address": "127.80.0.10",
        "seed_hosts": '["127.80.0.10"]',
        "bootstrap": "discovery.type: single-node",
        "java_options": "-Xms1g -Xmx1g",
        "inference_pattern": r"127\\.80\\.0\\.20",
        "opensearch_version": "2.19.1",
    },
    "inference": {
        "hostname": "inference-0",
        "region": "cn-hangzhou",
        "oss_endpoint": "oss-cn-hangzhou-internal.aliyuncs.com",
        "config_bucket": "ragrec-dev-1-config",
        "config_key": "inference/boot.json",
        "data_bucket": "ragrec-dev-1-data",
        "code_key": "code/abc.tar.gz",
        "model_key": "artifacts/abc/custom_emb.mar",
    },
    "recommendation": {
        "hostname": "recommendation-0",
        "region": "cn-hangzhou",
        "oss_endpoint": "oss-cn-hangzhou-internal.aliyuncs.com",
        "config_bucket": "ragrec-dev-1-config",
        "config_key": "recommendation/boot.json",
        "data_bucket": "ragrec-dev-1-data",
        "code_key": "code/abc.tar.gz",
    },
}


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """cloud-init's schema of cloud-config, from the distribution's package."""
    folder = tmp_path_factory.mktemp("cloud-init")
    installed = sorted(Path("/usr/lib/python3").rglob("cloudinit/config/schemas/schema-cloud-config-v1.json"))
    if not installed:
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            pytest.skip("neither cloud-init nor apt-get is here to take its schema from")
        # `download` needs no privileges, only package lists: keep them in an own folder.
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        options = [f"-oDir::State::Lists={lists}", "-oAPT::Sandbox::User="]
        if os.geteuid() != 0:
            options += [f"-oDir::Cache={folder}"]
        for command in (["update", "-qq"], ["download", "-qq", "cloud-init"]):
            done = subprocess.run(["apt-get", *options, *command], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"apt-get {command[0]} failed: {done.stderr.strip()[:200]}")
        subprocess.run(["dpkg-deb", "-x", next(folder.glob("cloud-init*.deb")), "x"], cwd=folder, check=True)
        installed = sorted((folder / "x").rglob("schema-cloud-config-v1.json"))
    loaded: dict[str, object] = json.loads(installed[0].read_text())
    return loaded


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_passes_cloud_inits_schema(name: str, schema: dict[str, object]) -> None:
    document = yaml.safe_load(cloudinit.render(name, VARIABLES[name]))
    jsonschema.Draft4Validator(schema).validate(document)


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_scripts_are_written_whole(name: str) -> None:
    document = yaml.safe_load(cloudinit.render(name, VARIABLES[name]))
    fetch = next(entry for entry in document["write_files"] if entry["path"] == "/opt/ragrec/bin/fetch")
    compile(fetch["content"], "fetch", "exec")
    assert 'REGION, ENDPOINT = "cn-hangzhou", "oss-cn-hangzhou-internal.aliyuncs.com"' in fetch["content"]
    assert "source" not in fetch


def test_unknown_and_unused_variables_are_errors() -> None:
    missing = {k: v for k, v in VARIABLES["inference"].items() if k != "model_key"}
    with pytest.raises(cloudinit.UserDataError, match=r"inference\.yaml uses \$\{model_key\}"):
        cloudinit.render("inference", missing)
    with pytest.raises(cloudinit.UserDataError, match="does not use colour"):
        cloudinit.render("inference", {**VARIABLES["inference"], "colour": "red"})
