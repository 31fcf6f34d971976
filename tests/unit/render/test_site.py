"""The site's variables: each is typed, refused by name where it doesn't fit, and read by the targets that it names."""

import copy

import pytest

from verl_provision import schemas
from verl_provision.paths import CATALOG
from verl_provision.render import TARGETS, site

ENTRIES = site.entries()
WRONG = {"integer": [0, -1, "many", 1.5, True], "boolean": ["perhaps"], "array": ["HF_TOKEN", ["a b"], [1]]}
WRONG |= {"string": ["", "a\nb", "$(id)", "-x;", [], "x" * 300], "object": [[], {"a b": "c"}, {"A": "b\nc"}]}


def mutations():
    """Values of another type or form for every variable."""
    for name, about in ENTRIES.items():
        kinds = about["type"] if isinstance(about["type"], list) else [about["type"]]
        for value in WRONG[kinds[0]]:
            yield name, about["targets"][0], value


@pytest.mark.parametrize(("name", "target", "value"), list(mutations()))
def test_a_value_of_another_form_is_refused_by_name(name, target, value):
    _, errors = site.check(target, {name: value})
    assert errors and all(error["found"].startswith(name) for error in errors), (name, value)


@pytest.mark.parametrize("name", [name for name, about in ENTRIES.items() if "enum" in about])
def test_every_value_of_an_enumeration_is_taken(name):
    for value in ENTRIES[name]["enum"]:
        assert site.check(ENTRIES[name]["targets"][0], {name: value})[1] == []


@pytest.mark.parametrize("name", ENTRIES)
def test_a_misspelt_name_is_refused_with_the_right_one(name):
    target = ENTRIES[name]["targets"][0]
    _, (error,) = site.check(target, {f"{name}x": "a"})
    assert "unknown variable" in error["found"] and f"`{name}`" in error["fix"]


def test_a_variable_of_another_target_is_refused_instead_of_being_ignored():
    _, (error,) = site.check("slurm", {"namespace": "ml"})
    assert error["found"] == "namespace: a variable of kuberay alone"


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "wandb_apikey", "DB_PASSWORD", "AWS_SECRET_ACCESS"])
def test_a_secret_in_env_is_refused_without_its_value(name):
    _, errors = site.check("slurm", {"env": {name: "canary-5f2c"}})
    assert errors and "canary" not in str(errors) and f"secrets=[{name}]" in errors[0]["fix"]


def test_a_refused_value_in_env_is_not_shown():
    _, errors = site.check("slurm", {"env": {"A": "canary-5f2c\n"}})
    assert errors and "canary" not in str(errors)


def test_targets_are_those_there_are():
    assert {target for about in ENTRIES.values() for target in about["targets"]} <= set(TARGETS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("true", True),
        ("[A, B]", ["A", "B"]),
        ("{A: b}", {"A": "b"}),
        ("gpu", "gpu"),
        ("1:2: [", "1:2: ["),
        ("", ""),
        ("2:00:00", "2:00:00"),
    ],
)
def test_values_on_the_command_line_are_yaml(text, value):
    assert site.value(text) == value


def test_a_time_without_quotes_in_a_file_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "site.yml").write_text("time: 2:00:00\noperator_version: 1.6\n")
    given = site.read(tmp_path / "site.yml")
    _, (error,) = site.check("slurm", {"time": given["time"]})
    assert "quotes" in error["fix"]
    assert site.check("kuberay", {"operator_version": given["operator_version"]})[0]["operator_version"] == "1.6"


def test_what_differs_by_vendor_has_the_shape_of_its_schema():
    found = schemas.problems(schemas.checker(CATALOG / "schema/render.json"), site.table())
    assert found == [] and set(site.table()["vendors"]) == {"nvidia", "amd", "ascend"}


@pytest.mark.parametrize("vendor", site.table()["vendors"])
def test_a_field_of_a_vendor_that_is_missing_or_misspelt_is_an_error(vendor):
    for name in site.table()["vendors"][vendor]:
        table = copy.deepcopy(site.table())
        table["vendors"][vendor][f"{name}x"] = table["vendors"][vendor].pop(name)
        assert len(schemas.problems(schemas.checker(CATALOG / "schema/render.json"), table)) == 2
