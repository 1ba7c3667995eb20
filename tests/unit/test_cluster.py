"""The files in cluster/ and the Dockerfile, as far as they can be checked without a cluster."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client.parser import text_string_to_metric_families

from jobs import serve
from jobs.cli import VERBS, cli
from jobs.serve.api import Order, describe
from jobs.serve.application import Args
from jobs.serve.files import Made
from jobs.serve.keys import KEY_VARIABLE
from jobs.serve.meter import Meter
from mrigen import __version__
from mrigen.labels import all_cells
from mrigen.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
IMAGE = f"registry.example.com/mrigen:{__version__}"
KINDS = {
    "raycluster.yaml": "RayCluster",
    "rayjob-train.yaml": "RayJob",
    "rayjob-generate.yaml": "RayJob",
    "rayservice.yaml": "RayService",
}
# The fields that KubeRay's v1 types have, of those that one may want here: a misspelt one is silently dropped.
JOB_FIELDS = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
CLUSTER_FIELDS = {
    *("rayVersion", "authOptions", "gcsFaultToleranceOptions", "enableInTreeAutoscaling", "autoscalerOptions"),
    *("headGroupSpec", "workerGroupSpecs"),
}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = load(name)["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


def pods(name: str) -> Iterator[dict[str, Any]]:
    spec = cluster_spec(name)
    yield spec["headGroupSpec"]["template"]["spec"]
    for group in spec["workerGroupSpecs"]:
        yield group["template"]["spec"]


def commands(name: str) -> list[list[str]]:
    """The command lines in a RayJob's entrypoint, which is one command or `bash -c "one && another"`."""
    words = shlex.split(load(name)["spec"]["entrypoint"])
    if words[:2] == ["bash", "-c"]:
        assert len(words) == 3
        return [shlex.split(part) for part in words[2].split("&&")]
    return [words]


@pytest.mark.parametrize("name", KINDS)
def test_kuberay_resources(name: str) -> None:
    resource = load(name)
    assert resource["apiVersion"] == "ray.io/v1"
    assert resource["kind"] == KINDS[name]
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,40}", resource["metadata"]["name"])
    spec = cluster_spec(name)
    assert set(spec) <= CLUSTER_FIELDS
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert set(spec["autoscalerOptions"]) == {"idleTimeoutSeconds"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpu_groups = [group for group in spec["workerGroupSpecs"] if group["groupName"] == "gpu"]
    assert len(gpu_groups) == 1
    for group in spec["workerGroupSpecs"]:
        assert set(group) == GROUP_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    gpu = gpu_groups[0]["template"]["spec"]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {entry["key"] for entry in gpu["tolerations"]}
    assert all(entry["operator"] == "Exists" for entry in gpu["tolerations"])
    assert gpu_groups[0]["minReplicas"] == (1 if resource["kind"] == "RayService" else 0)


@pytest.mark.parametrize("name", KINDS)
def test_all_pods_run_one_image_and_cap_what_they_take(name: str) -> None:
    for pod in pods(name):
        [container] = pod["containers"]
        assert container["image"] == IMAGE
        assert container["resources"]["requests"] == container["resources"]["limits"]
        if name == "rayservice.yaml":  # read where the application is built, which may be any node
            [key] = container["env"]
            assert key["name"] == KEY_VARIABLE
            assert set(key["valueFrom"]) == {"secretKeyRef"}


def test_ray_is_the_version_that_the_image_installs() -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert {cluster_spec(name)["rayVersion"] for name in KINDS} == {pinned[1]}


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayservice.yaml"])
def test_a_cluster_that_stays_survives_its_head(name: str) -> None:
    options = cluster_spec(name)["gcsFaultToleranceOptions"]
    reference = options["redisPassword"]["valueFrom"]["secretKeyRef"]
    claim, service, deployment, policy = yaml.safe_load_all((CLUSTER / "redis.yaml").read_text())
    assert options["redisAddress"] == f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    pod = deployment["spec"]["template"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert pod["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"] == reference
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    [rule] = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}}]
    assert [port["port"] for port in rule["ports"]] == [6379]


@pytest.mark.parametrize("name", ["rayjob-train.yaml", "rayjob-generate.yaml"])
def test_jobs_call_real_verbs_with_real_options(name: str) -> None:
    spec = load(name)["spec"]
    assert set(spec) == JOB_FIELDS
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] > 0
    num_gpus = next(
        group["maxReplicas"] for group in cluster_spec(name)["workerGroupSpecs"] if group["groupName"] == "gpu"
    )
    for program, verb, *arguments in commands(name):
        assert program == "mrigen"
        assert verb in VERBS
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        values = command.make_context(verb, list(arguments)).params
        paths = [word for word in arguments if "/" in word]
        assert paths, f"{verb} names no place"
        assert all(path.startswith("s3://my-bucket/mrigen/") for path in paths)
        if values.get("use_gpu"):
            assert values["num_workers"] <= num_gpus, f"{verb} waits for more GPUs than the cluster may have"


def test_ray_up_configuration_is_valid() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = load("ray-up-aws.yaml")
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["docker"]["image"] == IMAGE
    assert "-e RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    token = next(option for option in config["docker"]["run_options"] if "RAY_AUTH_TOKEN_PATH" in option)
    assert token.partition("=")[2] in config["file_mounts"]
    with pytest.raises(Exception, match="'dockr' was unexpected"):
        validate_config(prepare_config({**config, "dockr": {}}))


def serve_configs() -> dict[str, dict[str, Any]]:
    return {
        "serve.yaml": load("serve.yaml"),
        "rayservice.yaml": yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"]),
    }


@pytest.mark.parametrize("name", ["serve.yaml", "rayservice.yaml"])
def test_serve_configurations_are_valid_and_bounded(name: str) -> None:
    from ray.serve.schema import ServeDeploySchema

    tree = serve_configs()[name]
    # The schema takes misspelt keys without a word, so each key must come back.
    dumped = ServeDeploySchema.model_validate(tree).model_dump(mode="json", exclude_unset=True)
    assert dumped == tree
    assert tree["http_options"]["request_timeout_s"] > 0
    [application] = tree["applications"]
    assert application["import_path"] == f"{serve.__name__}:{serve.build_app.__name__}"
    args = Args.model_validate(application["args"])
    assert args.request_timeout < tree["http_options"]["request_timeout_s"], "Serve's limit hides the app's answer"


def test_the_dockerfile_installs_what_the_constraints_pin() -> None:
    """A version of its own beside `-c constraints.txt` cannot be installed once the two differ."""
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"[\w-]+==\d", text)
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert {"boto3", "torch", "ray"} <= set(pinned)
    locked, torch, own = re.findall(r"RUN pip install --no-cache-dir (.*)", text.replace("\\\n   ", ""))
    assert locked == "--require-hashes --no-deps -r requirements.txt"
    assert torch.endswith(""" "$(grep '^torch==' constraints.txt)\"""")
    assert own == "--no-index --no-deps --no-build-isolation ."


def needed_by(*words: str) -> set[str]:
    """The packages that these requirements bring here, but for torch and those of CUDA."""
    waiting, seen = list(map(Requirement, words)), set()
    while waiting:
        asked = waiting.pop()
        for extra in ("", *asked.extras):
            if (key := (canonicalize_name(asked.name), extra)) not in seen:
                seen.add(key)
                further = map(Requirement, metadata.requires(asked.name) or [])
                waiting += [one for one in further if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen if not re.match("torch$|nvidia-|cuda-|triton$", name)}


def test_what_the_image_installs_has_hashes_and_is_what_is_tested() -> None:
    text = (ROOT / "requirements.txt").read_text()
    entry = r"(\S+)==(\S+) (?:;.* )?\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
    assert re.fullmatch(rf"(?:#.*\n)+(?:{entry})+", text)
    locked = {canonicalize_name(name): version for name, version, _ in re.findall(entry, text)}
    lines = [line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {canonicalize_name(name): version for name, version in lines}
    builder = {"setuptools": locked["setuptools"]}  # of mrigen, in the image
    assert locked.items() <= pinned.items() | builder.items()
    assert set(locked) | {"mrigen"} == needed_by("mrigen", "boto3") | set(builder)


def test_workers_have_an_account_of_their_own() -> None:
    """KubeRay lets the head's account start and stop pods, for the autoscaler; workers, which run data, must not."""
    for name in KINDS:
        head, *workers = [pod["serviceAccountName"] for pod in pods(name)]
        assert head == "mrigen"
        assert set(workers) == {"mrigen-worker"}
        assert "serviceaccount mrigen-worker" in (CLUSTER / "README.md").read_text()


def test_the_dockerfile_copies_what_is_there_and_runs_as_a_user() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert all(word in {"ARG", "FROM", "USER", "SHELL", "RUN", "ENV", "WORKDIR", "COPY", "CMD"} for word, _ in lines)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, rest in lines:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignored, f"{source} is not sent to the builder"
    users = [rest for word, rest in lines if word == "USER"]
    assert users[-1] == "1000"
    copied = " ".join(rest for word, rest in lines if word == "COPY").split()
    assert {"mrigen", "jobs", "cluster", "constraints.txt"} <= set(copied)


def test_the_dashboard_asks_for_figures_that_a_server_has() -> None:
    model = describe(Pipeline.load(), "embedded", 50)
    meter, order = Meter([model]), Order(all_cells()[0], 1, 7, model.defaults, None, "png", model.sha256)
    meter.note_request("/v1/samples", "POST", 200, 1.0)
    asyncio.run(
        meter.noted(order, asyncio.sleep(0, Made([], compute_s=1.0, num_batches=1, encode_s=0.1, num_places=8.0)))
    )
    told = {
        (sample.name, *sample.labels)
        for family in text_string_to_metric_families(meter.text().decode())
        for sample in family.samples
    }
    labels = {name: set(rest) for name, *rest in told}
    asked = [target["expr"] for panel in load("grafana.json")["panels"] for target in panel["targets"]]
    for expression in asked:
        names = set(re.findall(r"mrigen_[a-z_]+", expression))
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        filtered = set(re.findall(r"[{,]([a-z]+)[=~]", expression))
        assert names <= set(labels), expression
        assert grouped | filtered <= set.union(*(labels[name] for name in names)), expression
    assert {name for expression in asked for name in re.findall(r"mrigen_[a-z_]+", expression)} == {
        "mrigen_http_requests_total",
        "mrigen_http_request_seconds_bucket",
        "mrigen_samples_total",
        "mrigen_samples_ongoing",
        "mrigen_stage_seconds_sum",
        "mrigen_stage_seconds_count",
        "mrigen_batch_places_total",
        "mrigen_model",
    }
