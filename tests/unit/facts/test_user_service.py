"""Whether the login user's own systemd can keep Ray running: what is there, and who may make it last."""

import pytest
from ansible.module_utils.verl_probes import network
from ansible.module_utils.verl_probes.command import Result
from ansible.module_utils.verl_probes.host import Host

MANAGER = ("/run/systemd/system", "/run/user/1000/systemd/private")
LINGER = "/var/lib/systemd/linger/alice"
UNIT = "/home/alice/.config/systemd/user/verl-ray.service"


class Login(Host):
    """A host with these files, and commands that end like this."""

    def __init__(self, *files, uid=1000, **answers):
        super().__init__()
        self.files, self.uid, self.answers, self.asked = files, uid, answers, []

    def identity(self):
        return self.uid, "alice", "/home/alice"

    def runtime_dir(self):
        return f"/run/user/{self.uid}"

    def exists(self, path):
        return path in self.files

    def which(self, name, path=None):
        return name if name in self.answers else None

    def run(self, argv, timeout=None, env=None):
        self.asked.append(argv)
        return Result(argv, rc=self.answers[argv[0]])


def test_without_systemd_or_a_manager_there_is_none():
    assert network.user_service(Login(MANAGER[0])) is None
    assert network.user_service(Login(MANAGER[1])) is None


def test_pams_module_can_start_one():
    host = Login(MANAGER[0], f"/usr/lib/{Host().uname().machine}-linux-gnu/security/pam_systemd.so")
    assert network.user_service(host) is not None


@pytest.mark.parametrize(
    ("host", "linger", "may_linger"),
    [
        (Login(*MANAGER, LINGER), True, True),
        (Login(*MANAGER), False, False),
        (Login(*MANAGER, pkcheck=0), False, True),
        (Login(*MANAGER, pkcheck=1), False, False),
        (Login("/run/systemd/system", "/run/user/0/systemd/private", uid=0), False, True),
    ],
)
def test_who_lingers_and_who_may(host, linger, may_linger):
    assert network.user_service(host) == {
        "linger": linger, "may_linger": may_linger, "unit": False, "running": False,
    }  # fmt: skip


@pytest.mark.parametrize(("rc", "running"), [(0, True), (3, False)])
def test_rays_unit(rc, running):
    host = Login(*MANAGER, LINGER, UNIT, systemctl=rc)
    found = network.user_service(host)
    assert (found["unit"], found["running"]) == (True, running)
    assert host.asked == [["systemctl", "--user", "is-active", "--quiet", "verl-ray.service"]]
