"""What verl_signing_key puts in place, read by the verifiers that apt uses: gpgv, and sqv since Debian 13."""

import subprocess

import pytest

from lab import machine
from tests.unit.container import keyrings
from tests.unit.container.conftest import module  # noqa: F401  (a fixture)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def lib():
    """module_utils/verl_probes/openpgp.py."""
    from ansible.module_utils.verl_probes import openpgp

    return openpgp


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    """The vendor and a foreigner."""
    machine.need("gpg", "gpg")
    both = [keyrings.Owner(tmp_path_factory.mktemp("owners") / name) for name in ("vendor", "foreign")]
    yield both
    for owner in both:
        owner.leave()


@pytest.fixture(scope="module")
def accepts(owners, tmp_path_factory):
    """Ask each verifier whose signature it takes, by the keyring at a path."""
    packages = tmp_path_factory.mktemp("packages") / "Packages"
    packages.write_text("Package: nvidia-container-toolkit\n")
    signatures = [owner.sign(packages) for owner in owners]
    verifiers = {name: machine.need(name, name) for name in ("gpgv", "sqv")}

    def ask(ring):
        said = {}
        for name, program in verifiers.items():
            runs = [
                subprocess.run([program, "--keyring", ring, signature, packages], capture_output=True)
                for signature in signatures
            ]
            said[name] = [run.returncode == 0 for run in runs]
        return said

    return ask


def test_the_verifiers_take_the_vendors_signature_and_no_other(module, lib, owners, accepts, tmp_path):  # noqa: F811
    vendor, foreign = owners
    files = {"the key": vendor.public, "armored": vendor.armored} | keyrings.unbound(vendor, foreign, lib)
    for name, data in files.items():
        (tmp_path / "key").write_bytes(data)
        dest = tmp_path / "ring.gpg"
        args = {"url": f"file://{tmp_path}/key", "fingerprint": vendor.fingerprint, "dest": str(dest)}
        answer = module("verl_signing_key", args)
        assert not answer["failed"], (name, answer)
        assert accepts(dest) == {"gpgv": [True, False], "sqv": [True, False]}, name
        dest.unlink()


def test_they_would_take_a_foreigners_by_files_that_are_refused(module, lib, owners, accepts, tmp_path):  # noqa: F811
    vendor, foreign = owners
    taken = set()
    for name, data in keyrings.altered(lib, vendor, foreign).items():
        ring, dest = tmp_path / "altered.gpg", tmp_path / "ring.gpg"
        ring.write_bytes(data)
        args = {"url": f"file://{ring}", "fingerprint": vendor.fingerprint, "dest": str(dest)}
        assert module("verl_signing_key", args)["failed"], name
        assert not dest.exists()
        taken |= {name for _vendor, other in accepts(ring).values() if other}
    assert {"a secret key after it", "a secret key before it", "a key after it"} <= taken
