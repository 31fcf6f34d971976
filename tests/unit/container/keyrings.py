"""A vendor's key, a foreigner's, and files that mix the two; made by real gpg."""

import os
import subprocess

SIGNATURE, SECRET_KEY, KEY, SECRET_SUBKEY, COMPRESSED, MARKER, LITERAL, TRUST = 2, 5, 6, 7, 8, 10, 11, 12
SUBKEY, PADDING, PRIVATE = 14, 21, 60


class Owner:
    """Somebody with a key that certifies and a subkey that signs, as Docker has."""

    def __init__(self, home):
        self.home = home
        home.mkdir(mode=0o700)
        self.gpg("--quick-generate-key", home.name, "ed25519", "cert", "never")
        listed = self.gpg("--with-colons", "--list-keys").decode()
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        self.gpg("--quick-add-key", self.fingerprint, "ed25519", "sign", "never")
        self.public, self.secret = self.gpg("--export"), self.gpg("--export-secret-keys")
        self.armored, self.armored_secret = self.gpg("--armor", "--export"), self.gpg("--armor", "--export-secret-keys")

    def gpg(self, *words):
        """Run gpg on this home; what it printed."""
        argv = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        return subprocess.run([*argv, *words], check=True, capture_output=True).stdout

    def sign(self, path):
        """The signature's file."""
        signature = path.with_name(f"{path.name}.{self.home.name}")
        self.gpg("--output", os.fspath(signature), "--detach-sign", os.fspath(path))
        return signature

    def leave(self):
        """End gpg's agent."""
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=False, capture_output=True)


def packet(tag, body, old=False):
    """One packet, in the new or the old format."""
    if old:
        return bytes([0x80 | tag << 2 | 2]) + len(body).to_bytes(4, "big") + body
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def altered(lib, vendor, foreign):
    """{name: the vendor's key with something of a foreigner's in the file}."""
    ours, theirs, secrets = (list(lib.packets(data)) for data in (vendor.public, foreign.public, foreign.secret))

    def join(whole, old=False):
        return b"".join(packet(tag, body, old) for tag, body in whole)

    return {
        "a key after it": vendor.public + foreign.public,
        "a key before it": foreign.public + vendor.public,
        "a secret key after it": vendor.public + foreign.secret,
        "a secret key before it": foreign.secret + vendor.public,
        "a secret key in the old format": vendor.public + join(secrets, old=True),
        "a secret key between its user id and its signature": join(ours[:2] + secrets + ours[2:]),
        "a secret key alone": foreign.secret,
        "only the secret key's packet": vendor.public + join(secrets[:1]),
        "a secret subkey": join(ours + secrets[3:]),
        "a secret subkey with its signature": join([*ours, secrets[3], ours[4]]),
        "a compressed key": vendor.public + packet(COMPRESSED, b"\0" + foreign.public),
        "a key in literal data": vendor.public + packet(LITERAL, b"b\0\0\0\0\0" + foreign.public),
        "a marker and a key": vendor.public + packet(MARKER, b"PGP") + foreign.public,
        "a marker": packet(MARKER, b"PGP") + vendor.public,
        "a packet of trust": vendor.public + packet(TRUST, b"\x06\0"),
        "padding": vendor.public + packet(PADDING, b"\0" * 8),
        "a private packet": vendor.public + packet(PRIVATE, foreign.public),
        "a packet of no kind": vendor.public + packet(0, b""),
        "a partial length": vendor.public + bytes([0xC0 | KEY, 0xE9]) + foreign.public,
        "an unknown length": vendor.public + bytes([0x80 | SECRET_KEY << 2 | 3]) + secrets[0][1],
        "half a packet": vendor.public + foreign.public[:-9],
        "an armored secret key after it": vendor.armored + foreign.armored_secret,
        "an armored secret key before it": foreign.armored_secret + vendor.armored,
        "an armored key after it": vendor.armored + foreign.armored,
        "an armored key without an end": vendor.armored + foreign.armored[: foreign.armored.index(b"-----END")],
        "armor after what is binary": vendor.public + foreign.armored_secret,
        "a secret key in the armor of a public one": vendor.armored + lib.armor(foreign.secret),
        "the key twice": vendor.public + vendor.public,
        "a subkey for a key": packet(SUBKEY, ours[0][1]) + join(ours[1:]),
        "the foreigner's name on it": join([theirs[0], *ours[1:]]),
    }


def unbound(vendor, foreign, lib):
    """{name: the vendor's key with packets that nobody can tell from its own by looking}: verifiers refuse these."""
    ours, theirs = list(lib.packets(vendor.public)), list(lib.packets(foreign.public))
    mixed = {
        "a subkey with the foreigner's signature": ours + theirs[3:],
        "a subkey with the signature of another": [*ours, theirs[3], ours[4]],
        "the foreigner's key as a subkey": [*ours, (SUBKEY, theirs[0][1]), *theirs[1:]],
        "a subkey before its own": ours[:3] + theirs[3:] + ours[3:],
        "a user id of the foreigner": ours + theirs[1:3],
    }
    return {name: b"".join(packet(tag, body) for tag, body in whole) for name, whole in mixed.items()}
