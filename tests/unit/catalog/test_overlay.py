"""Overlays (`verl_catalog_extra`): what changes, what stays, and that junk is refused with a message."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from verl_provision.catalog import CatalogError, load
from verl_provision.catalog.check import STATES
from verl_provision.paths import CATALOG

DIGEST = f"sha256:{'ab' * 32}"
PLAIN = load()
OWN = {
    "id": "mine", "ref": "lab/verl:mine", "registry": "registry.example:5000", "arch": ["x86_64"], "python": "3.12",
    "cuda": {"toolkit": "12.9.1", "torch": "12.9"}, "torch": "2.10.0", "engines": {"vllm": "0.18.0"},
    "trainers": ["fsdp"],
    "compute_capabilities": {"sass": ["8.0", "9.0"], "minimum": {"value": "8.0", "because": "flash-attn"}},
    "serves": {"floor_only": ["0.9.0"]}, "size_gb": {"estimate": 30},
}  # fmt: skip


def image(catalog: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in catalog["images"] if item["id"] == name)


def refused(extra: Any) -> CatalogError:
    with pytest.raises(CatalogError) as caught:
        load(extra=extra)
    return caught.value


def test_the_lab_sets_digests_and_sizes_by_ref() -> None:
    extra = {
        "images": [
            {"ref": "verlai/verl:vllm024.latest", "digest": DIGEST, "size_gb": {"compressed": 0.01, "unpacked": 0.02}}
        ]
    }
    after = load(extra=extra)
    changed = image(after, "vllm024")
    assert changed["digest"] == DIGEST
    assert changed["size_gb"] == {**image(PLAIN, "vllm024")["size_gb"], "compressed": 0.01, "unpacked": 0.02}
    expected = copy.deepcopy(PLAIN)
    image(expected, "vllm024").update(digest=DIGEST, size_gb=changed["size_gb"])
    assert after == expected, "and nothing else"


def test_docker_hubs_name_may_be_written() -> None:
    after = load(extra={"images": [{"ref": "docker.io/verlai/verl:vllm024.latest", "digest": DIGEST}]})
    assert image(after, "vllm024")["digest"] == DIGEST


def test_by_id_even_the_ref_may_change() -> None:
    after = load(extra={"images": [{"id": "vllm024", "ref": "team/verl:pinned", "registry": "registry.example"}]})
    assert image(after, "vllm024")["ref"] == "team/verl:pinned"
    assert len(after["images"]) == len(PLAIN["images"])


def test_lists_are_replaced() -> None:
    after = load(extra={"images": [{"id": "vllm024", "defects": [], "serves": {"tested": ["0.9.0", "0.9.1"]}}]})
    assert image(after, "vllm024")["defects"] == []
    assert image(after, "vllm024")["serves"] == {
        "tested": ["0.9.0", "0.9.1"],
        "documented": [],
        "floor_only": ["0.8.0"],
        "inherited": {},
    }


def test_a_new_image() -> None:
    after = load(extra={"images": [OWN]})
    mine = image(after, "mine")
    assert after["images"][-1] == mine and len(after["images"]) == len(PLAIN["images"]) + 1
    assert mine["digest"] is None and mine["role"] == "own" and mine["tags"] == ["own"]
    assert mine["serves"] == {"tested": [], "documented": [], "floor_only": ["0.9.0"], "inherited": {"0.9.1": "0.9.0"}}
    assert set(mine) == set(image(PLAIN, "vllm024")) - {"ci_tags"}


@pytest.mark.parametrize("field", ["ref", "arch", "python", "cuda", "torch", "engines", "trainers"])
def test_a_new_image_must_be_complete(field: str) -> None:
    error = refused({"images": [{key: value for key, value in OWN.items() if key != field}]})
    assert (error.item, error.field, error.found) == ("mine", field, "nothing")


def test_all_that_is_missing_is_said_at_once() -> None:
    error = refused({"images": [{"id": "mine"}]})
    assert {fault.field for fault in error.faults} == {
        "ref", "arch", "python", "cuda", "torch", "engines", "trainers", "compute_capabilities.sass",
        "compute_capabilities.minimum",
    }  # fmt: skip


def test_releases_and_gpus() -> None:
    newest = copy.deepcopy(PLAIN["releases"][0])
    newest.update(version="0.10.0", git_tag="v0.10.0", pypi=False)
    after = load(extra={
        "images": [{**OWN, "serves": {"tested": ["0.10.0"]}}],
        "releases": [newest, {"version": "0.9.1", "date": "2026-09-12"}],
        "gpus": [{"name": "H100", "memory_gb": [80, 94]}],
    })  # fmt: skip
    assert after["releases"][-1]["version"] == "0.10.0"
    assert after["releases"][0]["date"] == "2026-09-12"
    assert next(gpu for gpu in after["gpus"]["products"] if gpu["name"] == "H100")["memory_gb"] == [80, 94]


def test_another_release_of_a_manager() -> None:
    url = "https://downloads.example/micromamba"
    own = {"name": "micromamba", "version": "2.9.0-0",
           "downloads": [{"arch": "x86_64", "url": url, "sha256": "ab" * 32, "member": None}]}  # fmt: skip
    after = {entry["name"]: entry for entry in load(extra={"managers": [own]})["managers"]}
    before = {entry["name"]: entry for entry in PLAIN["managers"]}
    assert after["micromamba"] == {**before["micromamba"], **own}
    assert after["uv"] == before["uv"]


def test_files_and_several_of_them(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yml", tmp_path / "b.yml"
    first.write_text(yaml.safe_dump({"schema_version": 1, "images": [OWN]}))
    second.write_text(yaml.safe_dump({"images": [{"id": "mine", "digest": DIGEST}]}))
    assert image(load(extra=[str(first), second]), "mine")["digest"] == DIGEST
    assert image(load(extra=str(first)), "mine")["digest"] is None
    second.write_text("images:\n  - id: mine\n    python: 3.12\n")
    error = refused([first, second])
    assert error.file == str(second)
    assert str(error).endswith("mine: python: found 3.12, needed string. Put it in quotes")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (5, ["verl_catalog_extra", "found 5"]),
        ({"pictures": []}, ["pictures", "unknown section", "`images`"]),
        ({"images": {}}, ["images", "a list"]),
        ({"images": ["x"]}, ["images 1", "a mapping"]),
        ({"images": [{"digest": None}]}, ["images 1", "`id` or `ref`"]),
        ({"images": [{"id": 7}]}, ["images 1: id", "found 7", "quotes"]),
        ({"images": [{"id": "vllm024", "digest": "latest"}]}, ["vllm024: digest", "'latest'", "sha256"]),
        ({"images": [{"id": "vllm024", "colour": "red"}]}, ["vllm024: colour", "an unknown field"]),
        ({"images": [{"id": "vllm024", "arch": ["riscv"]}]}, ["arch.0", "x86_64, aarch64"]),
        (
            {"images": [{"id": "vllm024", "serves": {"tested": ["9.9"]}}]},
            ["serves.tested", "9.9", "a release of the catalog", "0.9.1"],
        ),
        ({"images": [{"id": "vllm024", "ref": "verlai/verl:sgl0512.latest"}]}, ["these belong to two"]),
        ({"images": [{"id": "vllm024", 3: 4}]}, ["found int", "a key that is text"]),
        ({"schema_version": 2}, ["schema_version", "found 2"]),
        ({"releases": [{"version": "0.10.0"}]}, ["0.10.0: date", "found nothing"]),
        ({"images": [{"id": "vllm024", "torch": None}]}, ["torch", "found None"]),
        ({"managers": [{"name": "uv", "downloads": []}]}, ["uv: downloads", "found []"]),
        ({"managers": [{"name": "pixi"}]}, ["pixi: name", "uv, micromamba"]),
        (["/does/not/exist.yml"], ["/does/not/exist.yml", "No such file"]),
        ([None], ["item 1", "found None"]),
        (["\0"], ["item 1"]),
        ("x" * 5000, ["needed a file"]),
    ],
    ids=str,
)
def test_messages(extra: Any, words: list[str]) -> None:
    message = str(refused(extra))
    assert all(word in message for word in words), message
    assert "found" in message and "needed" in message


def test_nothing_extra() -> None:
    assert load(extra=None) == load(extra=[]) == load(extra={}) == load(extra=()) == PLAIN


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=4) | st.dates()
)
FIELDS = st.sampled_from(sorted(image(PLAIN, "vllm024"))) | st.text(max_size=8)
KEYS = FIELDS | SCALARS.filter(lambda key: key == key)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
ENTRY = JUNK | st.fixed_dictionaries(
    {"id": st.sampled_from(["vllm024", "mine"]) | JUNK},
    optional={name: JUNK for name in ("ref", "digest", "serves", "cuda", "defects", "size_gb", "compute_capabilities")},
)
EXTRA = JUNK | st.dictionaries(
    st.sampled_from(["images", "releases", "gpus", "schema_version", "x"]), JUNK | st.lists(ENTRY, max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(EXTRA)
def test_junk_is_refused_or_fits_the_schema(extra: Any) -> None:
    """Any junk: a catalog that fits its schema, or CatalogError; never another exception."""
    try:
        after = load(extra=extra)
    except CatalogError as error:
        assert str(error)
        return
    changed = [item for item in after["images"] if item not in PLAIN["images"]]
    for item in changed:
        item["serves"].pop("inherited")
    schema = json.loads((CATALOG / "schema/images.json").read_text())
    assert Draft202012Validator(schema).is_valid({"schema_version": 1, "images": changed})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | JUNK.map(lambda junk: yaml.dump(junk).encode()))
def test_a_junk_file_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.yml"
    path.write_bytes(content)
    try:
        load(extra=[str(path)])
    except CatalogError as error:
        assert "junk.yml" in str(error)


def test_the_example_in_the_docs() -> None:
    page = (CATALOG.parent / "docs/catalog.md").read_text()
    example = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    after = load(extra=example)
    assert image(after, "vllm024")["size_gb"]["unpacked"] == 24.5
    assert image(after, "team-vllm018")["serves"]["inherited"] == {"0.9.1": "0.9.0"}
    assert after["releases"][0]["torch"] == "2.11.1"
    broken = copy.deepcopy(example)
    broken["images"][1]["python"] = 3.12
    said = str(refused(broken)).partition(": ")[2]
    assert f"extra.yml: {said}" in page.replace("\n", " ")


def test_the_docs_name_every_state() -> None:
    page = (CATALOG.parent / "docs/catalog.md").read_text()
    assert all(f"`{state}`" in page for state in STATES)
