"""The SSH key that opens the lab's hosts, made once."""

from pathlib import Path

from lab import cache, machine


def private_key() -> Path:
    """Give the path of the private key; the public one lies beside it."""

    def build(folder: Path) -> None:
        program = machine.need("ssh-keygen", "openssh-client")
        machine.output(program, "-q", "-t", "ed25519", "-N", "", "-C", "verl-lab", "-f", str(folder / "id_ed25519"))

    return cache.step("ssh-key", [1], build) / "id_ed25519"
