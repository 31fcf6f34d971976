"""What a module printed reaches Ansible only as the keys that we named, whichever ansible-core reads it."""

from types import SimpleNamespace

import pytest
from ansible.plugins import loader

from tests.unit.boundary.test_answer import ORDERS, ROOT
from verl_provision.actions import OurAction

SAID = '{"changed": true, "stamp": {"key": "x"}}'


@pytest.fixture(scope="module")
def action() -> OurAction:
    """An action plugin of ours as Ansible makes it for a task `verl_stamp`."""
    loader.module_loader.add_directory(str(ROOT / "library"))
    made = object.__new__(OurAction)
    made._task, made._shared_loader_obj = SimpleNamespace(action="verl_stamp"), loader
    made._used_interpreter = None
    return made


def heard(action: OurAction, stdout: str, stderr: str = "") -> dict:
    """What Ansible makes of a module's output; a newer one wraps it."""
    made = action._parse_returned_data({"stdout": stdout, "stderr": stderr, "rc": 1}, "legacy")
    return dict(made) if isinstance(made, dict) else made.as_result_dict()


@pytest.mark.parametrize("before", ["", "Welcome to gpu-1 {1}\n\n"])
@pytest.mark.parametrize("after", ["", "\n", "\nlogout"])
def test_the_answer_is_found_in_what_a_login_shell_says(action, before, after):
    answer = heard(action, before + SAID + after)
    assert answer["stamp"] == {"key": "x"} and answer["changed"] is True and not answer.get("failed")
    assert not set(answer) & (set(ORDERS) - {"_ansible_parsed"})


@pytest.mark.parametrize(
    "said",
    [
        *("", "x", "[]", f"[{SAID}]", "3", "null", SAID[:-1], '{"stamp": NaN}'),
        *("[" * 99_999, '{"a":' * 99_999, '{"stamp": ' + "9" * 99_999),
    ],
    ids=lambda said: said[:20],
)
def test_what_is_no_answer_is_a_failure_of_that_host(action, said):
    answer = heard(action, said, "\x1b[2Jpython3: cannot open\n")
    assert answer["failed"] is True and "verl_stamp" in answer["msg"] and "\x1b" not in str(answer)
