"""Fingerprints, compared with gpg's own, and keys that must not get in place."""

import shutil
import subprocess

import pytest

from . import keyrings


@pytest.fixture
def lib():
    """The functions under test."""
    from ansible.module_utils.verl_probes import openpgp

    return openpgp


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Three real keys made by gpg: {kind: (armored, binary, fingerprint)}."""
    if not shutil.which("gpg"):
        pytest.skip("gpg isn't installed")
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    made = {}
    for kind in ("rsa2048", "ed25519"):
        user = f"{kind} <{kind}@example.org>"
        subprocess.run([*gpg, "--quick-generate-key", user, kind, "sign", "never"], check=True, capture_output=True)
        listed = subprocess.run(
            [*gpg, "--with-colons", "--list-keys", user], check=True, capture_output=True, text=True
        )
        print_ = next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr"))
        binary = subprocess.run([*gpg, "--export", user], check=True, capture_output=True).stdout
        armored = subprocess.run([*gpg, "--armor", "--export", user], check=True, capture_output=True).stdout
        assert armored.startswith(b"-----BEGIN")
        made[kind] = (armored, binary, print_)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    return made


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_the_fingerprint_is_gpgs(lib, keys, kind):
    armored, binary, wanted = keys[kind]
    assert lib.fingerprints(armored) == [wanted]
    assert lib.fingerprints(binary) == [wanted]
    assert lib.dearmor(armored) == binary
    assert lib.fingerprints(armored.replace(b"\n", b"\r\n")) == [wanted]


def test_every_key_of_a_file_counts(lib, keys):
    both = keys["rsa2048"][0] + keys["ed25519"][0]
    assert lib.fingerprints(both) == [keys["rsa2048"][2], keys["ed25519"][2]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>Sign in</html>",
        b"\x99\x01",
        b"\x80",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!\n-----END PGP PUBLIC KEY BLOCK-----\n",
    ],
)
def test_anything_else_is_no_key(lib, data):
    with pytest.raises(lib.NotAKey):
        lib.fingerprints(data)


def test_people_write_fingerprints_in_many_ways(lib):
    assert (
        lib.normal("0xc95b 321b 61e8 8c18 09c4  f759 ddca e044 f796 ecb0") == "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
    )


def test_a_key_with_the_right_fingerprint_is_put_in_place_once(module, keys, tmp_path):
    armored, binary, fingerprint = keys["ed25519"]
    (tmp_path / "key").write_bytes(armored)
    args = {"url": f"file://{tmp_path}/key", "fingerprint": fingerprint.lower(), "dest": str(tmp_path / "a" / "b.gpg")}
    planned = module("verl_signing_key", args, check=True)
    assert planned["changed"]
    assert not (tmp_path / "a").exists()
    assert module("verl_signing_key", args)["changed"]
    assert (tmp_path / "a" / "b.gpg").read_bytes() == binary
    assert (tmp_path / "a" / "b.gpg").stat().st_mode & 0o777 == 0o644
    assert not module("verl_signing_key", args)["changed"]


def test_a_key_with_another_fingerprint_is_refused(module, keys, tmp_path):
    (tmp_path / "key").write_bytes(keys["rsa2048"][0])
    dest = tmp_path / "b.gpg"
    args = {"url": f"file://{tmp_path}/key", "fingerprint": keys["ed25519"][2], "dest": str(dest)}
    answer = module("verl_signing_key", args)
    assert answer["failed"]
    assert keys["rsa2048"][2] in answer["msg"]
    assert keys["ed25519"][2] in answer["msg"]
    assert not dest.exists()


def test_an_extra_key_in_the_file_is_refused(module, keys, tmp_path):
    (tmp_path / "key").write_bytes(keys["ed25519"][0] + keys["rsa2048"][0])
    args = {"url": f"file://{tmp_path}/key", "fingerprint": keys["ed25519"][2], "dest": str(tmp_path / "b.gpg")}
    assert module("verl_signing_key", args)["failed"]


def test_a_keyring_is_armored_where_apt_expects_it(module, keys, tmp_path):
    _armored, binary, print_ = keys["ed25519"]
    (tmp_path / "key").write_bytes(binary)
    args = {"url": f"file://{tmp_path}/key", "fingerprint": print_, "dest": str(tmp_path / "docker.asc")}
    assert module("verl_signing_key", args)["changed"]
    written = (tmp_path / "docker.asc").read_bytes()
    assert written.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n")
    shown = subprocess.run(["gpg", "--show-keys", "--with-colons"], input=written, check=True, capture_output=True)
    assert print_ in shown.stdout.decode()
    assert not module("verl_signing_key", args)["changed"]


@pytest.fixture(scope="module")
def owners(tmp_path_factory):
    """The vendor and a foreigner."""
    both = [keyrings.Owner(tmp_path_factory.mktemp("owners") / name) for name in ("vendor", "foreign")]
    yield both
    for owner in both:
        owner.leave()


def test_a_file_that_holds_more_than_the_key_is_refused(module, lib, owners, tmp_path):
    vendor, foreign = owners
    key, dest = tmp_path / "key", tmp_path / "ring.gpg"
    args = {"url": f"file://{key}", "fingerprint": vendor.fingerprint, "dest": str(dest)}
    passed = []
    for name, data in keyrings.altered(lib, vendor, foreign).items():
        key.write_bytes(data)
        if not module("verl_signing_key", args)["failed"] or dest.exists():
            passed.append(name)
            dest.unlink()
    assert not passed


@pytest.mark.parametrize("suffix", ["gpg", "asc"])
def test_a_keyring_that_an_older_version_let_through_is_replaced(module, lib, owners, tmp_path, suffix):
    vendor, foreign = owners
    key, dest = tmp_path / "key", tmp_path / f"ring.{suffix}"
    key.write_bytes(vendor.armored)
    before = vendor.public + foreign.secret
    dest.write_bytes(lib.armor(before) if suffix == "asc" else before)
    args = {"url": f"file://{key}", "fingerprint": vendor.fingerprint, "dest": str(dest)}
    assert module("verl_signing_key", args)["changed"]
    assert lib.dearmor(dest.read_bytes()) == vendor.public
    assert not module("verl_signing_key", args)["changed"]


def test_a_key_without_an_end_is_given_up(module, owners, tmp_path):
    args = {"url": "file:///dev/zero", "fingerprint": owners[0].fingerprint, "dest": str(tmp_path / "ring.gpg")}
    assert "is not the key" in module("verl_signing_key", args)["msg"]
