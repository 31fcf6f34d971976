"""The YAML targets: what stands in them, what the platform sets itself and so doesn't, and what is refused."""

import shlex

import pytest
import yaml

from tests.unit.render.conftest import AMD, ASCEND, NVIDIA
from verl_provision.render import Refused

RAY = {"ray_version": "2.54.1"}


def last(manifest):
    """KubeRay's own document; the job's script stands before it."""
    return list(yaml.safe_load_all(manifest))[-1]


def test_kuberay_asks_for_gpus_on_workers_alone_and_counts_them(text):
    spec = last(text("kuberay", **RAY))["spec"]
    cluster = spec["rayClusterSpec"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (group,) = cluster["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    assert (
        cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        and "nvidia.com/gpu" not in head["resources"]["limits"]
    )
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 2
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert {"name": "PYTHONPATH", "value": "/shared/verl/src"} in head["env"] and head["env"] == worker["env"]
    assert "command" not in worker and "args" not in worker, "KubeRay writes them"
    assert "initContainers" not in str(spec)


@pytest.mark.parametrize(
    ("operator", "ray", "mode", "token"),
    [("1.4.2", "2.54.1", "HTTPMode", False), ("1.5.0", "2.54.1", "SidecarMode", False),
     ("1.6.0", "2.51.0", "SidecarMode", False), ("1.6.0", "2.52.0", "SidecarMode", True)],
)  # fmt: skip
def test_kuberay_is_given_what_this_operator_knows(made, text, operator, ray, mode, token):
    spec = last(text("kuberay", operator_version=operator, ray_version=ray))["spec"]
    assert spec["submissionMode"] == mode and ("authOptions" in spec["rayClusterSpec"]) is token
    readme = "\n".join(line for line, _ in made("kuberay", operator_version=operator, ray_version=ray)["README.md"])
    assert ("NetworkPolicy" in readme) is not token


def test_the_catalog_knows_the_ray_of_images_that_pin_it(text):
    wanted = {"verl_image": "whatcanyousee-vllm085-sgl046p5-mcore0120-te23", "verl_version": "0.4.0"}
    made = last(text("kuberay", machine={"gpu": "H100", "driver": "550.163.01"}, wanted=wanted))
    assert made["spec"]["rayClusterSpec"]["rayVersion"] == "2.44.1"


def test_ascend_is_told_to_ray_by_hand(text):
    group = last(text("kuberay", machine=ASCEND, **RAY))["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert group["rayStartParams"] == {"resources": '"{\\"NPU\\": 8}"'}
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["huawei.com/Ascend910"] == 8
    assert "latest" not in container["image"] and "PYTHONPATH" not in str(container["env"])


@pytest.mark.parametrize(
    ("scheduler", "label"), [("kueue", "kueue.x-k8s.io/queue-name"), ("volcano", "volcano.sh/queue-name")]
)
def test_a_queue_is_a_label(text, scheduler, label):
    labels = last(text("kuberay", scheduler=scheduler, queue="mine", **RAY))["metadata"]["labels"]
    assert labels[label] == "mine" and ("ray.io/scheduler-name" in labels) is (scheduler == "volcano")


def test_a_working_dir_takes_the_place_of_the_checkout(text):
    spec = last(text("kuberay", working_dir="https://a.example/verl.zip", **RAY))["spec"]
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"working_dir": "https://a.example/verl.zip"}
    assert "PYTHONPATH" not in str(spec)


def test_compose_leaves_dollars_to_the_job(text):
    service = yaml.safe_load(text("compose", 1, env={"A": "$HOME"}, command=("sh", "-c", "echo $HOME")))["services"][
        "verl"
    ]
    assert service["command"] == ["sh", "-c", "echo $$HOME"] and service["environment"]["A"] == "$$HOME"
    assert "ipc" not in service, "with the host's IPC the host's /dev/shm would count"


def test_compose_hands_amd_devices_in(text):
    service = yaml.safe_load(text("compose", 1, AMD))["services"]["verl"]
    assert service["devices"] == ["/dev/kfd", "/dev/dri"] and "deploy" not in service and "privileged" not in service


def test_secrets_are_names(text):
    names = ["HF_TOKEN", "WANDB_API_KEY"]
    assert yaml.safe_load(text("skypilot", secrets=names))["secrets"] == dict.fromkeys(names)
    assert set(names) <= set(yaml.safe_load(text("dstack", secrets=names))["env"])
    environment = yaml.safe_load(text("compose", 1, secrets=names))["services"]["verl"]["environment"]
    assert {name: environment[name] for name in names} == dict.fromkeys(names)


@pytest.mark.parametrize("target", ["skypilot", "dstack"])
def test_platforms_set_their_own(text, target):
    made = yaml.safe_load(text(target))
    for own in ("privileged", "ipc", "network", "ulimits", "infiniband", "devices"):
        assert own not in text(target).split("\n", 3)[3], f"{target} sets {own} itself"
    assert made["name"] == "verl"


@pytest.mark.parametrize(
    ("target", "given", "found"),
    [
        ("compose", {"nodes": 2}, "verl_nnodes 2"),
        ("kuberay", {}, "no version of Ray"),
        ("kuberay", {"name": "a" * 48, **RAY}, "48 characters"),
        ("kuberay", {"name": "a" * 54, "kind": "RayCluster", **RAY}, "54 characters"),
        ("kuberay", {"shm_gb": 600, **RAY}, "shm_gb 600"),
        ("kuberay", {"scheduler": "kueue", **RAY}, "kueue"),
        ("kuberay", {"queue": "a", **RAY}, "queue a"),
        ("kuberay", {"machine": AMD, "working_dir": "https://a.example/b.zip", **RAY}, "working_dir"),
        ("skypilot", {"machine": ASCEND}, "ascend"),
        ("dstack", {"machine": ASCEND}, "ascend"),
        ("kuberay", {"machine": {"gpu": None}, **RAY}, "no GPUs"),
    ],
)
def test_what_is_refused_has_a_reason_and_a_way_out(made, target, given, found):
    with pytest.raises(Refused) as refused:
        made(target, **{"nodes": 1, **given})
    assert found in str(refused.value)
    for error in refused.value.errors:
        assert error["found"] and error["needed"] and error["fix"]


def test_all_reasons_come_at_once(made):
    with pytest.raises(Refused) as refused:
        made("kuberay", name="a" * 48, queue="a")
    assert len(refused.value.errors) == 3


@pytest.mark.parametrize("target", ["kuberay", "skypilot", "dstack", "compose"])
@pytest.mark.parametrize("value", ["a: b", "'", '"', "# x", "{{ x }}", "%TAG", "- a", "yes", "1e3", "@x", "`x`"])
def test_no_value_leaves_its_place(text, target, value):
    made = last(text(target, 1, NVIDIA, env={"ODD": value}, **(RAY if target == "kuberay" else {})))
    assert value in str(made) or repr(value)[1:-1] in str(made) or "ODD=" + value in str(made)


def test_the_command_reaches_the_head_as_it_was_given(text):
    """What `ray job submit` would make of quotes, dollars and && on the way is why it goes as a file."""
    command = ("python3", "-c", "print('a', \"$HOME\", '`x`')\nprint(2)", "&&", "a=b c")
    script, job = yaml.safe_load_all(text("kuberay", command=command, **RAY))
    assert job["spec"]["entrypoint"] == "bash /etc/verl/job.sh"
    exec_ = script["data"]["job.sh"].partition("\nexec ")[2]
    assert tuple(shlex.split(exec_)) == command


@pytest.mark.parametrize("target", ["skypilot", "dstack"])
def test_the_command_stays_one_command(text, target):
    command = ("python3", "-c", "print('a', \"$HOME\")\nprint(2)", "&&", "a=b c")
    made = yaml.safe_load(text(target, 1, command=command))
    script = made["run"] if target == "skypilot" else made["commands"][0]
    assert shlex.join(command) in script
