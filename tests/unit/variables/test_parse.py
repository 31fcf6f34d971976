"""`verl_*` variables: cast, filled in, refused by name."""

import jsonschema
import pytest

from verl_provision import variables


def only(raw):
    parsed = variables.parse(raw)
    (error,) = parsed.errors
    return parsed.values, error


def test_defaults_are_valid_and_complete():
    parsed = variables.parse({})
    assert (parsed.errors, parsed.secrets) == ((), ())
    jsonschema.Draft202012Validator(variables.schema()).validate(parsed.values)
    assert all(about.get("description") for about in variables.entries().values())
    assert {*parsed.values, *variables.secrets()} == set(variables.schema()["properties"])


@pytest.mark.parametrize(
    ("raw", "name", "value"),
    [
        ({"verl_image_force": "true"}, "verl_image_force", True),
        ({"verl_image_force": "no"}, "verl_image_force", False),
        ({"verl_model_params_b": "32"}, "verl_model_params_b", 32),
        ({"verl_model_params_b": "0.5"}, "verl_model_params_b", 0.5),
        ({"verl_nnodes": "2"}, "verl_nnodes", 2),
        ({"verl_version": 0.9}, "verl_version", "0.9"),
        ({"verl_version": "v0.9.0"}, "verl_version", "v0.9.0"),
        ({"verl_image": ""}, "verl_image", None),
        ({"verl_image": None}, "verl_image", None),
        ({"verl_engine": "none"}, "verl_engine", "none"),
        ({"verl_engine": None}, "verl_engine", "auto"),
        ({"verl_catalog_extra": "a.yml, b.yml"}, "verl_catalog_extra", ["a.yml", "b.yml"]),
        ({"other": "x"}, "verl_engine", "auto"),
    ],
)
def test_casts(raw, name, value):
    parsed = variables.parse(raw)
    assert parsed.errors == ()
    assert parsed.values[name] == value


@pytest.mark.parametrize(
    ("raw", "variable", "found", "needed", "fix"),
    [
        ({"verl_enigne": "vllm"}, "verl_enigne", "vllm", "exists", "Did you mean `verl_engine`?"),
        ({"verl_release": "0.9.0"}, "verl_release", "0.9.0", "verl_version", "Rename it to `verl_version`."),
        ({"verl_engine": "vlm"}, "verl_engine", "vlm", "one of auto, vllm", "Did you mean `verl_engine: vllm`?"),
        ({"verl_engine": True}, "verl_engine", "true", "one of auto", "Set `verl_engine`"),
        ({"verl_nnodes": 0}, "verl_nnodes", "0", "at least 1", "Set `verl_nnodes`"),
        ({"verl_nnodes": "two"}, "verl_nnodes", "two", "whole number", "Set `verl_nnodes`"),
        ({"verl_nnodes": 1.5}, "verl_nnodes", "1.5", "whole number", "Set `verl_nnodes`"),
        ({"verl_model_params_b": -1}, "verl_model_params_b", "-1", "above 0", "Set"),
        ({"verl_model_params_b": "7b"}, "verl_model_params_b", "7b", "billion parameters", "Set"),
        ({"verl_image_force": "maybe"}, "verl_image_force", "maybe", "true or false", "Set"),
        ({"verl_mirror_git": "--upload-pack=x"}, "verl_mirror_git", "--upload-pack=x", "an address", "Set"),
        ({"verl_version": "newest"}, "verl_version", "newest", "matching", "Set"),
        ({"verl_commit": "main"}, "verl_commit", "main", "matching", "Set"),
        ({"verl_probe_root": "relative"}, "verl_probe_root", "relative", "matching", "Set"),
        ({"verl_container_name": "a b"}, "verl_container_name", "a b", "matching", "Set"),
        ({"verl_image": "a\nb"}, "verl_image", "a\\nb", "image reference", "Set"),
        ({"verl_catalog_extra": [1]}, "verl_catalog_extra", "1", "list of files", "Set"),
    ],
)
def test_refusals(raw, variable, found, needed, fix):
    values, error = only(raw)
    assert error["variable"] == variable
    assert found in error["found"]
    assert needed in error["needed"]
    assert fix in error["fix"]
    if variable in values:
        assert values[variable] == variables.defaults()[variable]


def test_a_proxy_s_password_is_not_repeated():
    _, error = only({"verl_proxy": ["http://me:secret@proxy"]})
    assert "secret" not in str(error)


def test_not_a_mapping():
    assert only("verl_engine=vllm")[1]["variable"] == "verl_*"


def test_old_names_lead_to_ones_that_exist():
    schema = variables.schema()
    assert set(schema["removed"].values()) <= set(schema["properties"])
    assert not set(schema["removed"]) & set(schema["properties"])
