"""What stands on a host is not taken below: not by an older catalog, not by another order of preference."""

import copy
from dataclasses import replace

import pytest

from tests.unit.decide.machines import loaded, machine, settle
from verl_provision import versions
from verl_provision.plan import fleet
from verl_provision.plan.fleet import plan_host

KINDS = {"a container": machine(), "a source environment": machine(None)}


def older(release="0.7.1"):
    """The catalog as a controller had it when `release` was the newest."""
    catalog = copy.deepcopy(loaded())
    catalog["releases"] = [one for one in catalog["releases"] if versions.compare(one["version"], release) <= 0]
    return catalog


def converged(kind, version):
    """The facts of a host on which a release stands."""
    facts = KINDS[kind]
    planned = plan_host(facts, {"verl_version": version}, loaded())
    assert planned["ok"], planned["errors"]
    assert planned["verl_version"] == version
    return settle(facts, planned)


def work(planned):
    """The steps that would take it elsewhere."""
    return set(planned["steps"]) & {"container_image", "training_container", "verl_checkout", "source_environment"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_catalog_takes_no_host_back(kind):
    facts = converged(kind, "0.9.1")
    planned = plan_host(facts, {}, older())
    assert not planned["ok"]
    (error,) = planned["errors"]
    assert error["rule"] == "downgrade"
    assert "verl 0.9.1 stands here" in error["found"]
    assert "set verl_version to 0." in error["fix"]
    assert planned["steps"] == {}


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_where_that_is_asked_for(kind):
    planned = plan_host(converged(kind, "0.9.1"), {"verl_version": "0.7.1"}, older())
    assert planned["ok"], planned["errors"]
    assert planned["verl_version"] == "0.7.1"
    assert work(planned)


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_that_the_catalog_has_and_would_not_choose_is_kept(kind, monkeypatch):
    facts, decide = converged(kind, "0.9.1"), fleet.decisions.decide

    def cautious(seen, preferences, catalog):
        """As where another order of preference has 0.9.0 come first."""
        left = preferences.version in ("auto", "latest")
        return decide(seen, replace(preferences, version="0.9.0") if left else preferences, catalog)

    monkeypatch.setattr(fleet.decisions, "decide", cautious)
    planned = plan_host(facts, {}, loaded())
    assert planned["ok"], planned["errors"]
    assert planned["verl_version"] == "0.9.1"
    assert not work(planned), planned["steps"]
    assert any("verl 0.9.1 stands here; 0.9.0" in why for why in planned["why"])
    assert plan_host(KINDS[kind], {}, loaded())["verl_version"] == "0.9.0", "a new host"


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_release_is_taken(kind):
    planned = plan_host(converged(kind, "0.7.1"), {}, loaded())
    assert planned["ok"]
    assert versions.compare(planned["verl_version"], "0.7.1") > 0


@pytest.mark.parametrize("tag", ["v99.0.0", "main", "v1.2.3\x1b[2J", "0" * 4000, None])
def test_what_somebody_else_tagged_or_a_host_makes_up_reaches_no_other(tag):
    facts = converged("a container", "0.7.1")
    facts["verl_checkout"]["tag"] = tag
    planned = plan_host(facts, {}, loaded())
    assert planned["ok"] is (tag != "v99.0.0")
    del facts["stamps"]["verl_checkout"]
    assert plan_host(facts, {}, loaded())["ok"], "a checkout that is not ours says nothing"
