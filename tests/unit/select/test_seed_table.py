"""Every sentence of the write-up's advice, and the order of precedence."""

import pytest

from tests.unit.decide.machines import loaded, machine
from verl_provision.docs import seed_table
from verl_provision.plan.fleet import plan_host


@pytest.mark.parametrize("row", [*seed_table.ROWS, *seed_table.PRECEDENCE], ids=lambda row: f"{row.chapter} {row.rule}")
def test_row(row):
    planned = plan_host(machine(**row.machine), row.requests, loaded())
    assert planned["ok"], planned["errors"]
    for name, wanted in row.answer.items():
        if name == "warned":
            assert any(wanted in warning["message"] for warning in planned["warnings"]), planned["warnings"]
        elif name == "image":
            assert wanted in (planned["image"]["id"], planned["image"]["ref"])
        elif name in ("cuda", "tier", "torch"):
            assert planned["image"][name] == wanted
        else:
            assert planned[name] == wanted


def test_the_chapters_are_all_there():
    assert {row.chapter for row in seed_table.ROWS} == {"4.1", "4.2", "4.3", "7"}


def test_a_small_model_alone_on_one_host_is_not_warned_about():
    planned = plan_host(machine(driver="550.163.01"), {"verl_version": "0.4.1", "verl_model_params_b": 3}, loaded())
    assert [warning for warning in planned["warnings"] if warning["rule"] == "scenario"] == []
