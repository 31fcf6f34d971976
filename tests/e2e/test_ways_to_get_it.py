"""A wheel and a collection do on this machine what a clone does, without the clone."""

import json
import os
import sys

import pytest
import yaml

from tests.installed import OFFLINE, Tree, run
from verl_provision import __version__

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def wheel(tree):
    """The `bin` of an environment that has the wheel."""
    return tree.environment("wheel", tree.wheel())


@pytest.fixture(scope="module")
def collection(tree):
    """The `bin` of an environment with ansible-core, and the folder with the collection."""
    commands = tree.environment("collection")
    packed = tree.collection()
    galaxy = [commands / "ansible-galaxy", "collection", "install", "--offline", "-p", tree.place / "collections"]
    run(*OFFLINE, *galaxy, packed, cwd=tree.place)
    return commands, tree.place / "collections"


def test_the_wheel_explains_without_a_network(wheel, tmp_path):
    said = run(*OFFLINE, wheel / "verl-provision", "explain", "--gpu", "H100", "--driver", "550", cwd=tmp_path).stdout
    assert "app-verl0.4-vllm0.8.5" in said
    assert f"verl-provision {__version__}" in run(wheel / "verl-provision", "--version", cwd=tmp_path).stdout


def test_the_wheel_plans_this_machine_and_reports_where_the_user_is(wheel, tmp_path):
    requests = [f"--want=verl_prefix={tmp_path}/verl", f"--want=verl_state_dir={tmp_path}/state"]
    run(wheel / "verl-provision", "plan", *requests, cwd=tmp_path)
    report = json.loads((tmp_path / "reports/latest/report.json").read_text())
    assert report["hosts"]["localhost"]["state"] == "planned"
    assert run(wheel / "verl-provision", "report", cwd=tmp_path).stdout.startswith("HOST")


@pytest.mark.slow  # uv and pipx are installed, and each installs what the wheel needs
@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_uv_and_pipx_run_the_wheel_without_an_installation(tree, tmp_path, tool):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    run(tmp_path / "venv/bin/pip", "install", "--quiet", tool, cwd=tmp_path)
    command = tmp_path / "venv/bin" / tool
    start = {
        "uv": [command, "tool", "run", "--python", sys.executable, "--from", tree.wheel(), "verl-provision"],
        "pipx": [command, "run", "--python", sys.executable, "--spec", tree.wheel(), "verl-provision"],
    }[tool]
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    if "PIP_CERT" in os.environ:
        home["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
    said = run(*start, "explain", "--gpu", "H100", "--driver", "550", cwd=tmp_path, **home).stdout
    assert "app-verl0.4-vllm0.8.5" in said
    assert not (tmp_path / ".local/bin/verl-provision").exists()


def test_the_collection_has_every_playbook_and_its_documentation(collection, tmp_path):
    commands, folder = collection
    names = sorted(path.stem for path in (folder / "ansible_collections/verl/provision/playbooks").glob("*.yml"))
    assert {"plan", "site", "verify"} <= set(names)
    check = ["--syntax-check", "-i", "localhost,", *(f"verl.provision.{name}" for name in names)]
    where = {"ANSIBLE_COLLECTIONS_PATH": str(folder)}
    run(*OFFLINE, commands / "ansible-playbook", *check, cwd=tmp_path, **where)
    said = run(*OFFLINE, commands / "ansible-doc", "-t", "filter", "verl.provision.verl_plan", cwd=tmp_path, **where)
    assert "verl.provision.verl_load_inputs" in said.stdout
    said = run(*OFFLINE, commands / "ansible-doc", "-t", "module", "verl.provision.verl_sif", cwd=tmp_path, **where)
    assert "registry_logins" in said.stdout and "no_proxy" in said.stdout  # from the documentation's fragments


def test_the_collection_plans_and_its_roles_serve_another_projects_playbook(collection, tmp_path):
    commands, folder = collection
    where = {"ANSIBLE_COLLECTIONS_PATH": str(folder)}
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    requests = {"verl_prefix": f"{tmp_path}/verl", "verl_state_dir": f"{tmp_path}/state"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"here": {**here, **requests}}}}))
    ansible = [commands / "ansible-playbook", "-i", "hosts.yml"]
    run(*ansible, "--skip-tags", "drift", "verl.provision.plan", cwd=tmp_path, **where)
    assert json.loads((tmp_path / "reports/latest/report.json").read_text())["hosts"]["here"]["state"] == "planned"

    role = {"name": "verl.provision.verl_shell"}
    inputs = {"verl_shell_path": f"{tmp_path}/verl-shell", "verl_shell_state_dir": f"{tmp_path}/state"}
    task = {"name": "Use the role", "ansible.builtin.include_role": role, "vars": inputs}
    play = {"name": "Another project", "hosts": "all", "gather_facts": False, "tasks": [task]}
    (tmp_path / "theirs.yml").write_text(yaml.safe_dump([play]))
    run(*OFFLINE, *ansible, "theirs.yml", cwd=tmp_path, **where)
    assert (tmp_path / "verl-shell").stat().st_mode & 0o111
    assert "changed=0" in run(*ansible, "theirs.yml", cwd=tmp_path, **where).stdout
