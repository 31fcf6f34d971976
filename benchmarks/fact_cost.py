"""B6: what facts cost: bytes kept, exchanges a host, and what they add to the tasks that follow."""

import argparse
import json
import re
import subprocess
from pathlib import Path

import fleet
import harness
from harness import Contestant

LOOKS = {
    "verl_host_facts": "    - verl_host_facts: {probe_root: /opt/lab/probe}\n      register: __verl_facts\n",
    "setup, all": "    - ansible.builtin.setup:\n",
    "setup, min": "    - ansible.builtin.setup: {gather_subset: ['!all']}\n",
    "nothing": "",
}
NEXT = "".join(f"    - ansible.builtin.debug: {{msg: '{number}'}}\n" for number in range(10))
ANSIBLE = str(Path(fleet.sys.executable).parent / "ansible")


def play(name: str, after: str) -> Path:
    """A play that looks, and then goes on."""
    path = fleet.BUILD / f"facts-{re.sub('[^a-z]', '', name)}-{bool(after)}.yml"
    path.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n" + LOOKS[name] + (after or "    - meta: noop\n"))
    return path


def kept(name: str, inventory: Path) -> int:
    """Bytes that stay in memory for one host."""
    module = ["verl_host_facts", "-a", "probe_root=/opt/lab/probe"]
    if name.startswith("setup"):
        module = ["setup", "-a", "gather_subset=" + ("all" if "all" in name else "!all")]
    command = [ANSIBLE, "node-0000", "-i", str(inventory), "-o", "-m", *module]
    said = subprocess.run(
        command, cwd=fleet.ROOT, env={**fleet.os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    answer = json.loads(said.partition("=>")[2])
    return len(json.dumps(answer.get("facts") or answer["ansible_facts"]))


def exchanges(name: str, inventory: Path) -> int:
    """Commands that one host is sent, with Python to be found as in the product's default."""
    command = [ANSIBLE + "-playbook", "-vvv", "-i", str(inventory), "-l", "node-0000", str(play(name, ""))]
    command += ["-e", "ansible_python_interpreter=auto_silent"]
    said = subprocess.run(command, cwd=fleet.ROOT, capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"SSH: EXEC", said))


def main() -> None:
    """Each look, and ten tasks after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    inventory = fleet.start(args.hosts)
    harness.about(
        f"B6: facts of {args.hosts} hosts, {args.runs} runs",
        "the same ansible.cfg; what ten tasks without a connection take after a look, less the look by itself",
    )
    results = {}
    for after in ("", NEXT):
        everybody = [
            Contestant(name, [ANSIBLE + "-playbook", "-i", str(inventory), str(play(name, after))]) for name in LOOKS
        ]
        results[bool(after)] = harness.interleave(everybody, args.runs)
    print(f"\n{'':18}{'bytes kept':>12}{'exchanges':>11}{'look s':>8}{'look CPU s':>12}{'ten tasks s':>13}{'CPU s':>8}")
    for name in LOOKS:
        look, more = results[False][name], results[True][name]
        cost = [harness.middle(more, key) - harness.middle(look, key) for key in ("seconds", "controller_cpu")]
        size, sent = (kept(name, inventory), exchanges(name, inventory)) if LOOKS[name] else (0, 0)
        print(
            f"{name:18}{size:>12}{sent:>11}{harness.middle(look):>8.1f}{harness.middle(look, 'controller_cpu'):>12.1f}"
            f"{cost[0]:>13.1f}{cost[1]:>8.1f}"
        )
    harness.save(f"fact-cost-{args.hosts}", {"look": results[False], "with ten tasks": results[True]})


if __name__ == "__main__":
    main()
