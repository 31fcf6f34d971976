"""Every role documents every input, and defaults/main.yml says the same as argument_specs."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def read(role, path):
    file = ROOT / "roles" / role / path
    return yaml.safe_load(file.read_text()) if file.is_file() else None


@pytest.mark.parametrize("role", ROLES)
def test_defaults_equal_the_spec(role):
    options = {}
    for entry in read(role, "meta/argument_specs.yml")["argument_specs"].values():
        options |= entry.get("options", {})
    stated = {name: option["default"] for name, option in options.items() if "default" in option}
    defaults = {name: value for name, value in (read(role, "defaults/main.yml") or {}).items() if name[:2] != "__"}
    # A template is no boolean or number, so Ansible's judges of documentation refuse it as the default of one.
    templates = {
        name for name, option in options.items()
        if option["type"] in ("bool", "int") and "default" not in option and "{{" in str(defaults.get(name))
    }  # fmt: skip
    assert {name: value for name, value in defaults.items() if name not in templates} == stated


@pytest.mark.parametrize("role", ROLES)
def test_a_role_calls_itself_by_its_name(role):
    assert read(role, "meta/main.yml")["galaxy_info"]["role_name"] == role


@pytest.mark.parametrize("role", ROLES)
def test_inputs_carry_the_roles_name_and_say_what_they_are(role):
    for entry in read(role, "meta/argument_specs.yml")["argument_specs"].values():
        assert entry["short_description"]
        for name, option in entry.get("options", {}).items():
            assert name.startswith(f"{role}_")
            assert option["description"]
            assert option["type"]
