"""Loading: plain data, messages that say where, the cache, and that the files themselves need no jsonschema."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from verl_provision.catalog import CatalogError, load
from verl_provision.paths import CATALOG

SRC = CATALOG.parent / "src"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the catalog."""
    return Path(shutil.copytree(CATALOG, tmp_path / "catalog"))


def test_the_shape() -> None:
    catalog = load()
    assert set(catalog) == {
        "images",
        "releases",
        "cuda",
        "gpus",
        "vendors",
        "thresholds",
        "managers",
        "daemon_json",
        "distributions",
    }
    assert isinstance(catalog["images"], list) and isinstance(catalog["releases"], list)
    assert catalog["cuda"]["driver_floor"]["13"] == "580"


def test_root_is_the_repository_or_the_folder(own: Path) -> None:
    assert load(own) == load(own.parent) == load(str(own)) == load()


def test_what_a_caller_changes_stays_his() -> None:
    load()["images"].clear()
    assert load()["images"]


def test_a_changed_file_is_read_again(own: Path) -> None:
    assert load(own)["cuda"]["driver_floor"]["13"] == "580"
    path = own / "cuda.yml"
    path.write_text(path.read_text().replace('"13": "580"', '"13": "580.65"', 1))
    os.utime(path, ns=(1, 1))
    assert load(own)["cuda"]["driver_floor"]["13"] == "580.65"


def test_the_second_load_is_nearly_free() -> None:
    import time

    load()
    start = time.process_time()
    for _ in range(10):
        load()
    assert (time.process_time() - start) / 10 < 0.1


def test_a_missing_file_is_named(own: Path) -> None:
    (own / "gpus.yml").unlink()
    with pytest.raises(CatalogError) as caught:
        load(own)
    assert caught.value.file.endswith("gpus.yml")
    assert "No such file" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["images: [", "images: 3", "- 1", "", "images: {}", "\x00", "a: &a [*a]", "x: !!python/object:os.system 1"],
)
def test_a_broken_file_is_named(own: Path, content: str) -> None:
    (own / "images.yml").write_text(content)
    with pytest.raises(CatalogError) as caught:
        load(own)
    assert "images.yml" in str(caught.value) and "needed" in str(caught.value)


def test_dates_and_versions_stay_text(own: Path) -> None:
    (own / "extra.yml").write_text("releases:\n  - version: '0.9.1'\n    date: 2026-09-12\n")
    releases = load(own, extra=str(own / "extra.yml"))["releases"]
    assert releases[0]["date"] == "2026-09-12"


NO_JSONSCHEMA = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jsonschema", "requests"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from verl_provision.catalog import load
assert load()["images"]
try:
    load(extra={"images": [{"id": "vllm024", "digest": None}]})
except ModuleNotFoundError as error:
    print(error)
"""


def test_the_catalog_needs_pyyaml_only_and_what_an_overlay_needs_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_JSONSCHEMA], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "jsonschema" in done.stdout and "pip install" in done.stdout


def test_patch_releases_inherit() -> None:
    images = {image["id"]: image for image in load()["images"]}
    assert images["vllm024"]["serves"]["inherited"] == {"0.9.1": "0.9.0"}
    assert images["vllm012"]["serves"]["inherited"] == {}, "0.7.1 has images of its own"
    assert images["vemlp-vllm063-te17"]["serves"]["inherited"] == {}, "0.2.0.post1 has its own CI"


def test_an_overlays_image_for_a_patch_release_takes_nothing_from_the_others() -> None:
    own = copy.deepcopy(next(image for image in load()["images"] if image["id"] == "vllm024"))
    del own["serves"]["inherited"]
    own |= {"id": "mine", "ref": "registry.example/verl:mine"}
    own["serves"] |= {"tested": ["0.9.1"], "documented": [], "floor_only": []}
    images = {image["id"]: image for image in load(extra=[{"images": [own]}])["images"]}
    assert images["vllm024"]["serves"]["inherited"] == {"0.9.1": "0.9.0"}
    assert images["mine"]["serves"]["inherited"] == {}
