"""sudo free, sudo with a password and no sudo are told apart, and nothing can ask."""

import pytest
from ansible.module_utils.verl_probes import rights
from ansible.module_utils.verl_probes.command import Result

from .recorded import RecordedHost

PASSWORD = "sudo: a password is required\n"
LISTED = """Matching Defaults entries for ops on gpu01:
    env_reset, mail_badpass

User ops may run the following commands on gpu01:
"""


class Host(RecordedHost):
    def __init__(self, answers, groups=(), uid=1000):
        super().__init__("no_gpu")
        self.answers, self.asked, self._groups, self.uid = list(answers), [], list(groups), uid

    def which(self, name, path=None):
        return "/usr/bin/" + name

    def groups(self):
        return self._groups

    def identity(self):
        return self.uid, "ops", "/home/ops"

    def run(self, argv, timeout=None, env=None):
        self.asked.append(argv)
        return self.answers.pop(0)


def said(rc, stderr="", stdout=""):
    return Result(["sudo"], rc=rc, stderr=stderr, stdout=stdout)


@pytest.mark.parametrize(
    ("answers", "groups", "expected"),
    [
        ([said(0)], [], "free"),
        ([said(1, PASSWORD), said(1, PASSWORD)], ["sudo"], "password"),
        ([said(1, PASSWORD), said(1, PASSWORD)], [], "password"),
        ([said(1, PASSWORD), said(1, "Sorry, user ops may not run sudo on gpu01.\n")], [], "none"),
        ([said(1, "ops is not in the sudoers file.\n")], [], "none"),
        ([said(1, "Sorry, user ops is not allowed to execute '/usr/bin/true' as root on gpu01.\n")], [], "none"),
        ([said(1, PASSWORD), said(0, "", LISTED + "    (root) NOPASSWD: /usr/bin/systemctl\n")], [], "none"),
        ([said(1, PASSWORD), said(0, "", LISTED + "    (ALL : ALL) ALL\n")], [], "password"),
        ([said(1, 'sudo: The "no new privileges" flag is set\n')], ["sudo"], "none"),
        ([said(1, "sudo-rs: interactive authentication is required\n")] * 2, [], "password"),
        ([Result(["sudo"], timed_out=True, error="no answer within 10 s")], [], "none"),
    ],
)
def test_sudo(answers, groups, expected):
    host = Host(answers, groups)
    assert rights.sudo(host) == expected
    assert all("-n" in argv for argv in host.asked), "sudo without -n could ask for a password"


def test_root_needs_no_sudo():
    host = Host([], uid=0)
    assert rights.user(host)["sudo"] == "free" and host.asked == []


def test_no_sudo_at_all():
    host = Host([])
    host.which = lambda name, path=None: None
    assert rights.sudo(host) == "none"


def test_a_sudo_that_hangs_is_noted():
    host = Host([Result(["sudo"], timed_out=True, error="no answer within 10 s")])
    rights.sudo(host)
    assert host.errors == [{"probe": "sudo", "reason": "no answer within 10 s"}]
