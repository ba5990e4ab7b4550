"""What the Kubernetes work pool is made from, as far as that can be checked without a cluster."""

from __future__ import annotations

import json
import re

import pytest

from esr1md.catalogue import data_path
from esr1md.config import load_site

FOLDER = data_path("configs") / "kubernetes"


@pytest.fixture(scope="module")
def template() -> dict:
    return json.loads((FOLDER / "job-template.json").read_text())


def test_every_placeholder_is_a_variable_and_every_variable_is_used(template):
    known = set(template["variables"]["properties"])
    used = set(re.findall(r"{{ *(\w+) *}}", json.dumps(template["job_configuration"])))
    assert used == known
    assert all("title" in each for each in template["variables"]["properties"].values())


def test_prefect_s_worker_makes_a_job_of_it(template):
    """With the values of a site: one GPU, the store, the database's secret, nobody runs as root."""
    worker = pytest.importorskip("prefect_kubernetes.worker")
    from prefect.utilities.templating import apply_values

    values = {name: each["default"] for name, each in template["variables"]["properties"].items() if "default" in each}
    values |= {"image": "registry/esr1md:1", "command": "prefect flow-run execute", "name": "screen"}
    made = worker.KubernetesWorkerJobConfiguration(**apply_values(template["job_configuration"], values))
    pod = made.job_manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry/esr1md:1"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["envFrom"] == [{"secretRef": {"name": "esr1md-database"}}]
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/store", "/dev/shm"}
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_image_copies_what_the_wheel_needs():
    text = (FOLDER / "Dockerfile").read_text()
    for folder in ("esr1md", "flows", "structures", "ligands", "configs"):
        assert f"COPY {folder} {folder}" in text
    assert "USER esr1md" in text


def test_the_site_is_a_work_pool():
    site = load_site("kubernetes")
    assert site.kind == "prefect" and site.prefect.members > 1 and not site.elsewhere
