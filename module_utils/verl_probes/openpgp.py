"""Fingerprints of OpenPGP keys, without gpg: enough of RFC 4880 and 9580 to compare before trusting."""

import base64
import hashlib
import re

ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
PUBLIC_KEY = 6
# A public key's packets: signature, key, user id, subkey, user attribute. Verifiers take more for
# keys of the ring: sqv trusts a secret key (5) as if it were a public one.
OWN = (2, PUBLIC_KEY, 13, 14, 17)


class NotAKey(ValueError):
    """The data is no OpenPGP public key; the text says what it looks like instead."""


def dearmor(data):
    """Return the binary packets of an armored key (all blocks in the file), or binary data as it is."""
    blocks = ARMOR.findall(data)
    if not blocks:
        if data[:1] and data[0] & 0x80:
            return data
        start = data[:60].decode("utf-8", "replace").strip().replace("\n", " ")
        raise NotAKey("it is no OpenPGP key; it starts with {0!r}".format(start))
    if b"-----BEGIN" in ARMOR.sub(b"", data):
        raise NotAKey("it has another armored block beside the public key")
    out = b""
    for block in blocks:
        text = block.replace(b"\r", b"")
        if not text.startswith(b"\n"):
            head, blank, text = text.partition(b"\n\n")
            if not blank:  # no header lines and no empty line either
                text = head
        lines = [line for line in text.split(b"\n") if line and not line.startswith(b"=")]
        try:
            out += base64.b64decode(b"".join(lines), validate=True)
        except ValueError as error:
            raise NotAKey("its armor is damaged: {0}".format(error)) from error
    return out


def armor(data):
    """Return binary packets as the one armored block that apt reads; the checksum is optional and left out."""
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    head, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return "{0}\n\n{1}\n{2}\n".format(head, lines, end).encode()


def packets(data):
    """Yield (tag, body) of each packet."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise NotAKey("packet at byte {0} is damaged".format(at))
        at += 1
        try:
            if head & 0x40:  # new format
                tag = head & 0x3F
                first = data[at]
                if first < 192:
                    length, at = first, at + 1
                elif first < 224:
                    length, at = ((first - 192) << 8) + data[at + 1] + 192, at + 2
                elif first == 255:
                    length, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
                else:
                    raise NotAKey("partial lengths are not for keys")
            else:
                tag = (head >> 2) & 0x0F
                size = {0: 1, 1: 2, 2: 4}.get(head & 3)
                if size is None:
                    raise NotAKey("packet without a length")
                length, at = int.from_bytes(data[at : at + size], "big"), at + size
        except IndexError as error:
            raise NotAKey("it ends in the middle of a packet") from error
        if at + length > len(data):
            raise NotAKey("it ends in the middle of a packet")
        yield tag, data[at : at + length]
        at += length


def fingerprint(body):
    """Return the fingerprint of one public-key packet's body, upper-case hexadecimal."""
    if body[:1] == b"\x04":
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise NotAKey("key of version {0}, only 4 and 6 are supported".format(body[0] if body else "?"))


def fingerprints(data):
    """Return the fingerprints of the primary keys in `data` (armored or binary), in order; refuse anything else."""
    whole = list(packets(dearmor(data)))
    foreign = sorted({tag for tag, _body in whole if tag not in OWN})
    if foreign:
        tags = ", ".join(map(str, foreign))
        raise NotAKey("it holds more than a public key: OpenPGP packets with tag {0}".format(tags))
    found = [fingerprint(body) for tag, body in whole if tag == PUBLIC_KEY]
    if not found:
        raise NotAKey("it holds no public key")
    return found


def normal(text):
    """Return a fingerprint as people write it (spaces, 0x, lower case) in one form."""
    return re.sub(r"[^0-9A-F]", "", re.sub(r"^0x", "", str(text).strip(), flags=re.IGNORECASE).upper())
