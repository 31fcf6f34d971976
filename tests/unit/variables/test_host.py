"""Everything a user gives is checked before any host is touched: settings, secrets, groups. Each fault is named."""

import json
import os

import pytest

from verl_provision import fleet
from verl_provision.plan import steps
from verl_provision.variables import Reader, settings

ABOUT = {"mode": "apply", "started": "2026-11-24T10:00:00Z", "ansible": "2.19.14", "limit": None}
CANARY = "c4n4ry"


def begin(hostvars):
    return fleet.begin(hostvars, list(hostvars), ABOUT)


def refusal(**variables):
    """The one error of a host with these variables; it isn't looked at."""
    run = begin({"gpu-1": variables})
    assert run["look_at"] == fleet.NO_HOSTS
    (error,) = run["hosts"]["gpu-1"]["errors"]
    return error


@pytest.mark.parametrize(
    ("variables", "named", "needed", "fix"),
    [
        ({"training_container_shm_sizee": "64g"}, "training_container_shm_sizee", "a variable of role", "_shm_size`?"),
        ({"verl_chekout_path": "/x"}, "verl_chekout_path", "exists", "Did you mean `verl_checkout_path`?"),
        ({"docker_engine_source": "dockr"}, "docker_engine_source", "one of docker, distro", "Correct"),
        ({"training_container_volumes": {"a": 1}}, "training_container_volumes", "a list", "Correct"),
        ({"container_image_attempts": "many"}, "container_image_attempts", "a whole number", "Correct"),
        ({"docker_engine_proxy": 3}, "docker_engine_proxy", "a mapping", "Correct"),
        ({"docker_engine_proxy": {"urll": "http://x"}}, "docker_engine_proxy", "a mapping", "Correct"),
        (
            {"trainig_container_shm_size": "64g"},
            "trainig_container_shm_size",
            "exists",
            "`training_container_shm_size`?",
        ),
        ({"Docker_engine_source": "distro"}, "Docker_engine_source", "exists", "Did you mean `docker_engine_source`?"),
        ({"run_report_direktory": "x"}, "run_report_direktory", "role run_report", "`run_report_directory`?"),
    ],
)
def test_a_role_s_variable_is_refused_by_name(variables, named, needed, fix):
    error = refusal(**variables)
    assert error["variable"] == named
    assert needed in error["needed"]
    assert fix in error["fix"]


def test_other_people_s_variables_are_theirs():
    names = ("docker_version", "container_shm_size", "nvidia_version", "my_training_container_name", "docker_users")
    theirs = {name: "x" for name in (*names, "report_directory", "ansible_host", "node_name")}
    assert begin({"a": theirs})["look_at"] == ["a"]


def test_what_a_role_leaves_behind_is_no_setting():
    given = Reader().read(
        {"training_container_result": {"changed": True}, "docker_engine_result": 1, "ray_cluster_ready": {}}
    )
    assert (given.settings, given.errors) == ({}, ())


def test_strings_from_the_command_line_are_what_the_role_takes():
    run = begin({"a": {"training_container_install_verl": "false", "container_image_attempts": "3"}})
    assert run["look_at"] == ["a"]


@pytest.mark.parametrize(
    ("variables", "named", "needed"),
    [
        ({"verl_registry_logins": f"me:{CANARY}"}, "verl_registry_logins", "a mapping"),
        ({"verl_registry_logins": {"r.example": CANARY}}, "verl_registry_logins.r.example", "username and password"),
        (
            {"verl_registry_logins": {"r.example": {"username": "me"}}},
            "verl_registry_logins.r.example.password",
            "value",
        ),
        (
            {"verl_registry_logins": {"r.example": {"username": "me", "password": ""}}},
            "verl_registry_logins.r.example.password",
            "a value",
        ),
        (
            {"verl_registry_logins": {"r.example": {"username": "me", "passwrd": CANARY, "password": CANARY}}},
            "verl_registry_logins.r.example.passwrd",
            "username and password",
        ),
        (
            {"verl_registry_logins": {"https://r.example": {"username": "me", "password": CANARY}}},
            "verl_registry_logins.https://r.example",
            "a host",
        ),
        ({"verl_huggingface_token": f"{CANARY} {CANARY}"}, "verl_huggingface_token", "bare value"),
        ({"verl_huggingface_token": [CANARY]}, "verl_huggingface_token", "text"),
        ({"verl_huggingface_tokn": CANARY}, "verl_huggingface_tokn", "exists"),
        ({"verl_proxy_login": {"username": f"a:{CANARY}", "password": "x"}}, "verl_proxy_login.username", "bare"),
        ({"verl_proxy": f"http://me:{CANARY}@proxy:3128"}, "verl_proxy", "without a user or a password"),
        ({"verl_mirror_pypi": f"https://me:{CANARY}@pypi.example/simple"}, "verl_mirror_pypi", "without a user"),
        ({"verl_mirror_gitt": f"https://me:{CANARY}@git.example/x"}, "verl_mirror_gitt", "exists"),
        ({"training_container_secret_env": [CANARY]}, "training_container_secret_env", "a mapping"),
    ],
)
def test_a_secret_of_the_wrong_shape_is_refused_and_never_repeated(variables, named, needed):
    error = refusal(**variables)
    assert error["variable"] == named
    assert needed in error["needed"]
    assert CANARY not in json.dumps(error)


def test_secrets_are_known_by_name_only():
    run = begin(
        {
            "a": {
                "verl_registry_logins": {"r.example:5000": {"username": "me", "password": CANARY}},
                "verl_huggingface_token": CANARY,
                "verl_proxy_login": {"username": "me", "password": CANARY},
                "training_container_secret_env": {"WANDB_API_KEY": CANARY},
                "training_container_pip_env": {"PIP_INDEX_URL": CANARY},
            },
            "b": {"verl_huggingface_token": "", "verl_proxy_login": {}, "verl_registry_logins": None},
        }
    )
    assert CANARY not in json.dumps(run)
    assert run["look_at"] == ["a", "b"]
    assert run["hosts"]["a"]["secrets"] == ["verl_registry_logins", "verl_huggingface_token", "verl_proxy_login"]
    assert run["hosts"]["a"]["settings"]["training_container"]["training_container_secret_env"] == ["WANDB_API_KEY"]
    assert run["hosts"]["b"]["secrets"] == []


class Failing(dict):
    """Variables of which one can't be worked out, as Ansible's are."""

    def __getitem__(self, name):
        if name == "verl_huggingface_token":
            raise ValueError("Attempting to decrypt but no vault secrets found.")
        return super().__getitem__(name)


def test_a_value_that_cannot_be_worked_out_is_named():
    run = begin({"a": Failing(verl_huggingface_token="x", verl_enginee="vllm"), "b": {}})
    assert run["look_at"] == ["b"]
    assert [error["variable"] for error in run["hosts"]["a"]["errors"]] == [
        "verl_huggingface_token",
        "verl_enginee",
    ]


def test_a_cluster_counts_itself_and_agrees():
    groups = {"cluster": ["a", "b"], "all": ["a", "b", "c"]}
    run = begin(
        {
            "a": {"groups": groups, "verl_version": "0.9.0"},
            "b": {"groups": groups, "verl_version": "0.8.0", "verl_nnodes": 4},
            "c": {"groups": groups, "verl_version": "0.6.0"},
        }
    )
    said = {name: [error["variable"] for error in host["errors"]] for name, host in run["hosts"].items()}
    assert said == {"a": ["verl_version"], "b": ["verl_version", "verl_nnodes"], "c": []}
    assert '"0.9.0" on a; "0.8.0" on b' in run["hosts"]["a"]["errors"][0]["found"]
    assert run["look_at"] == ["c"]


@pytest.mark.parametrize(
    ("group", "refused"), [("clutser", True), ("Clusters", True), ("cluster1", False), ("gpu", False)]
)
def test_a_misspelt_cluster_group_is_refused(group, refused):
    run = begin({"a": {"groups": {group: ["a"], "all": ["a"]}}})
    assert bool(run["hosts"]["a"]["errors"]) is refused
    if refused:
        assert group in run["hosts"]["a"]["errors"][0]["found"]


def test_two_names_of_one_host_are_refused_and_two_homes_on_it_are_not():
    one = {"ansible_host": "192.0.2.1", "ansible_user": "ops"}
    run = begin({"a": one, "b": one, "c": {**one, "verl_state_dir": "~/c"}, "d": {"ansible_host": "192.0.2.2"}})
    assert run["look_at"] == ["c", "d"]
    assert run["hosts"]["a"]["errors"][0]["found"] == "192.0.2.1 for a, b"


def test_all_of_a_run_s_faults_come_at_once():
    run = begin({"a": {"verl_enginee": "x", "verl_nnodes": 0, "docker_engine_sourc": 1, "verl_proxy_login": 3}})
    named = {error["variable"] for error in run["hosts"]["a"]["errors"]}
    assert named == {"verl_enginee", "verl_nnodes", "docker_engine_sourc", "verl_proxy_login"}


def test_every_role_of_the_plan_has_a_spec():
    assert set(steps.STEPS) <= set(settings.specs())


def test_what_a_run_has_once_is_said_once():
    run = begin({"a": {"verl_rolling_batch": 5}, "b": {"verl_rolling_batch": "5"}, "c": {}})
    assert run["look_at"] == fleet.NO_HOSTS
    for host in run["hosts"].values():
        (error,) = host["errors"]
        assert error["variable"] == "verl_rolling_batch"
        assert error["found"] == "5 on a, b; 10 on c"
        assert "--limit" in error["fix"]


def test_a_refused_value_contradicts_nobody():
    run = begin({"a": {"verl_rolling_batch": 5}, "b": {"verl_rolling_batch": "few"}})
    assert run["look_at"] == ["a"]


@pytest.mark.parametrize("name", [1, 1.5, True, None])
def test_a_name_that_is_no_text_is_refused_and_named(name):
    (error,) = begin({"a": {name: "x", "verl_engine": "vllm"}})["hosts"]["a"]["errors"]
    assert (error["variable"], error["found"]) == (str(name), "'x'")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new}\n  <<: [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
ONE = "images:\n  - id: vllm024\n    python: '3.12'\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, ["aliases that unfold to more than"]),
        (MERGED, ["aliases that unfold to more than"]),
        ("images: &a\n  - *a\n", ["an alias inside of what it stands for", "line 1"]),
        (ONE + "    python: '3.13'\n", ["the key `python` twice", "line 4"]),
        (ONE + "images: []\n", ["the key `images` twice", "line 4"]),
        ("[" * 100_000, ["nesting"]),
        ("#" * 5_000_000, ["more than 4 MB"]),
        (None, ["a folder"]),
    ],
    ids=["aliases", "merged aliases", "a loop", "a key twice", "a section twice", "too deep", "too long", "a folder"],
)
def test_a_hostile_catalog_file_is_refused_before_any_host_is_touched(tmp_path, content, words):
    path = tmp_path / "extra.yml"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    error = refusal(verl_catalog_extra=str(path))
    assert error["variable"] == "verl_catalog_extra"
    assert all(word in error["found"] for word in [str(path), *words]), error["found"]


def test_a_pipe_and_an_endless_file_are_refused_without_being_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    for path in (tmp_path / "pipe.yml", "/dev/zero"):
        assert "no plain file" in refusal(verl_catalog_extra=str(path))["found"]


def test_hosts_that_say_the_same_share_what_was_read():
    reader = Reader()
    one, same = (reader.read({"ansible_host": name, "verl_engine": "vllm"}) for name in "ab")
    other = reader.read({"verl_engine": "sglang"})
    assert one is same
    assert other.values["verl_engine"] == "sglang"
