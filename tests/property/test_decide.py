"""What must hold of every decision, whatever the machine, the requests and the catalog."""

import copy
import json
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property import strategies
from tests.unit.decide.machines import known, loaded, machine, settle
from verl_provision import facts as hosts
from verl_provision import versions
from verl_provision.catalog import model
from verl_provision.plan.fleet import plan_fleet, plan_host
from verl_provision.select import decision as decisions
from verl_provision.select.findings import Rejection
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import RULES, ask
from verl_provision.variables import Request, defaults, parse

PATIENT = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def inputs(facts, asked, here):
    return SelectionFacts.of(hosts.read(facts, here), here), Preferences.of(Request.of(parse(asked).values))


def decide(facts, asked, catalog=None):
    here = known() if catalog is None else model.read(catalog)
    return decisions.decide(*inputs(facts, asked, here), here)


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_never_an_image_that_breaks_a_rule(facts, asked):
    decision = decide(facts, asked)
    if not decision.ok:
        return
    given_facts, preferences = inputs(facts, asked, known())
    broken = {
        rule.id: rule
        for rule in RULES
        if rule.scope != "host"
        for finding in ask(rule, decision.candidate, given_facts, preferences, known())
        if isinstance(finding, Rejection)
    }
    if asked.get("verl_image") and asked.get("verl_image_force"):
        assert all(rule.forceable for rule in broken.values())
        assert not set(broken) & {"cpu_architecture", "compute_capability", "vendor"}
    else:
        assert broken == {}


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_the_same_input_gets_the_same_answer(facts, asked):
    before = json.dumps([facts, asked])
    first = plan_host(facts, asked, loaded())
    assert json.dumps([facts, asked]) == before
    assert plan_host(copy.deepcopy(facts), dict(reversed(asked.items())), loaded()) == first
    shuffled = loaded()
    shuffled = {**shuffled, "images": shuffled["images"][::-1], "releases": shuffled["releases"][::-1]}
    again = plan_host(facts, asked, shuffled)
    assert (again["ok"], again["verl_version"], again["image"]) == (first["ok"], first["verl_version"], first["image"])


@PATIENT
@given(strategies.machines(), strategies.requests(), st.data())
def test_adding_an_image_never_makes_the_answer_worse(facts, asked, data):
    images = loaded()["images"]
    # An image that is asked by name isn't an addition: unknown it is taken at the user's word, known it is judged.
    others = [image["id"] for image in images if asked.get("verl_image") not in (image["id"], image["ref"])]
    left_out = data.draw(st.sampled_from(others))
    fewer = {**loaded(), "images": [image for image in images if image["id"] != left_out]}
    before, after = decide(facts, asked, fewer), decide(facts, asked)
    if before.ok:
        assert after.ok
        if after.candidate.image != before.candidate.image:
            best = {judged.candidate.image.id: judged.rank for judged in after.judged if not judged.rejections}
            assert best[after.candidate.image.id] <= best[before.candidate.image.id]


@PATIENT
@given(strategies.machines(st.just("580.95.05")), strategies.requests(), st.data())
def test_a_newer_driver_shrinks_the_choices_only_by_end_of_life(facts, asked, data):
    drivers = sorted(strategies.DRIVERS, key=versions.key_or_zero)
    older = data.draw(st.integers(0, len(drivers) - 2))
    newer = data.draw(st.integers(older + 1, len(drivers) - 1))
    asked.pop("verl_driver_policy", None)
    found = []
    for driver in (drivers[older], drivers[newer]):
        facts = copy.deepcopy(facts)
        if facts["nvidia"]["driver_version"]:
            facts["nvidia"]["driver_version"] = driver
        found.append(decide(facts, asked))
    able = [
        {
            (judged.candidate.name, judged.candidate.release.version)
            for judged in decision.judged
            if not judged.rejections
        }
        for decision in found
    ]
    gone = able[0] - able[1]
    named = {rule for judged in found[1].judged for rule, _ in judged.rejections if _key(judged) in gone}
    assert named <= {"end_of_life"}
    lost = {error["rule"] for error in found[1].errors} - {error["rule"] for error in found[0].errors}
    if found[0].ok:
        assert lost <= {"end_of_life"}
        assert found[1].ok or lost


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_a_tested_pair_is_never_beaten_by_an_untested_one_of_its_driver_class(facts, wished):
    decision = decide(facts, wished | {"verl_version": "auto"})
    if not decision.ok:
        return
    best = next(judged for judged in decision.judged if judged.candidate is decision.candidate)
    for judged in decision.judged:
        same = (judged.merits.degraded, judged.merits.gap, judged.merits.unmet)
        if not judged.rejections and same == (best.merits.degraded, best.merits.gap, best.merits.unmet):
            assert best.merits.evidence <= judged.merits.evidence, judged.candidate.name


@PATIENT
@given(strategies.machines(st.just("580.95.05")), strategies.requests(), st.data())
def test_with_native_images_a_newer_driver_never_gives_less(facts, wished, data):
    """Neither weaker evidence nor, with the same, an older release; and what was met stays met."""
    drivers = sorted(strategies.DRIVERS, key=versions.key_or_zero)
    older = data.draw(st.integers(0, len(drivers) - 2))
    newer = data.draw(st.integers(older + 1, len(drivers) - 1))
    wished = {**wished, "verl_driver_policy": "native", "verl_version": "auto"}
    found = []
    for driver in (drivers[older], drivers[newer]):
        facts = copy.deepcopy(facts)
        if facts["nvidia"]["driver_version"]:
            facts["nvidia"]["driver_version"] = driver
        found.append(decide(facts, wished))
    if not found[0].ok or {"end_of_life"} & {error["rule"] for error in found[1].errors}:
        return
    before, after = (_merits(decision) for decision in found)
    # A defect may belong to one driver branch alone: it decides first, and is no matter of newer or older.
    if before.degraded == after.degraded:
        assert (after.unmet, after.evidence, after.release) <= (before.unmet, before.evidence, before.release)


def _merits(decision):
    return next(judged.merits for judged in decision.judged if judged.candidate is decision.candidate)


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_no_old_release_without_a_warning_in_the_first_line(facts, wished):
    decision = decide(facts, wished | {"verl_version": "auto"})
    if not decision.ok:
        return
    hard = {"vendor", "cpu_architecture", "compute_capability", "end_of_life"}
    dates = [
        judged.candidate.release.date
        for judged in decision.judged
        if judged.candidate.evidence and not hard & {rule for rule, _ in judged.rejections}
    ]
    if max(dates) - decision.candidate.release.date > timedelta(days=365):
        assert decision.warnings[0]["rule"] == "old_release" and decision.warnings[0]["fix"]
    else:
        assert "old_release" not in {row["rule"] for row in decision.warnings}


def _key(judged):
    return judged.candidate.name, judged.candidate.release.version


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_a_second_run_has_nothing_to_do(facts, asked):
    facts["engines"]["docker"]["running"] = []
    first = plan_host(facts, asked, loaded())
    if first["ok"]:
        done = settle(facts, first)
        done["disk"]["engine_root"] = {"path": "/var/lib/docker", "free_gb": 900.0, "total_gb": 900.0}
        again = plan_host(done, asked, loaded())
        assert again["ok"]
        assert again["steps"] == {}
        assert not again["verification"]["needed"]


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_what_does_not_fit_says_why(facts, asked):
    planned = plan_host(facts, asked, loaded())
    assert planned["ok"] != bool(planned["errors"])
    if not planned["ok"]:
        assert planned["steps"] == {}
    for row in [*planned["errors"], *planned["rejected"]]:
        assert row["rule"] and row["found"] and row["needed"] and row["fix"]
    for warning in planned["warnings"]:
        assert warning["rule"] and warning["message"]


@PATIENT
@given(strategies.machines(), strategies.requests())
def test_nothing_is_disturbed_on_a_busy_host(facts, asked):
    facts["nvidia"]["processes"] = [{"pid": 1, "gpu_uuid": "GPU-0", "memory_mb": 1}]
    asked.pop("verl_allow_disruption", None)
    planned = plan_host(facts, asked, loaded())
    fresh = "docker_engine" in planned["steps"]
    step = planned["steps"].get("disruption")
    assert step is None or fresh or step["args"]["action"] in ("reload", "live_restore_restart")


# ---- junk


def sane(planned):
    assert planned["ok"] in (True, False)
    assert planned["ok"] or planned["errors"]
    assert "internal" not in [error["rule"] for error in planned["errors"]], planned["errors"]
    json.dumps(planned)


@PATIENT
@given(strategies.JUNK, strategies.JUNK, strategies.JUNK, strategies.JUNK)
def test_pure_junk_gets_a_plan(facts, asked, catalog, own):
    sane(plan_host(facts, asked, catalog, own))
    sane(plan_host(facts, asked, loaded(), own))
    sane(plan_host(machine(), asked, catalog, own))


@PATIENT
@given(st.data(), strategies.requests())
def test_spoiled_facts_get_a_plan(data, asked):
    sane(plan_host(data.draw(strategies.spoiled(machine())), asked, loaded()))


@PATIENT
@given(st.data(), strategies.machines(), strategies.requests())
def test_a_spoiled_catalog_gets_a_plan(data, facts, asked):
    small = {**loaded(), "images": loaded()["images"][:4], "releases": loaded()["releases"][:4]}
    sane(plan_host(facts, asked, data.draw(strategies.spoiled(small))))


@settings(PATIENT, max_examples=40)
@given(st.data(), strategies.requests())
def test_facts_of_the_schemas_shape_get_a_plan(data, asked):
    facts = data.draw(strategies.from_schema("facts"))
    sane(plan_host(facts, asked, loaded()))


@PATIENT
@given(strategies.JUNK, strategies.JUNK)
def test_a_fleet_of_junk_gets_plans(inputs, catalog):
    fleet = plan_fleet(inputs, catalog)
    json.dumps(fleet)
    fleet = plan_fleet({"a": inputs, "b": {"facts": inputs, "request": inputs, "settings": inputs}}, loaded())
    for planned in fleet["hosts"].values():
        sane(planned)


# ---- requests

NAMES = sorted(defaults())


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from([*NAMES, "verl_enigne", "verl_", "other"]), strategies.JUNK, max_size=4))
def test_each_variable_is_valid_or_refused_by_name(raw):
    parsed = parse(raw)
    assert set(parsed.values) == set(NAMES)
    for error in parsed.errors:
        assert error["variable"] in raw
        assert error["found"] and error["needed"] and error["fix"]
    again = parse(parsed.values)
    assert again.errors == ()
    assert again.values == parsed.values


@settings(deadline=None, max_examples=200)
@given(strategies.requests())
def test_requests_as_strings_are_the_same_requests(asked):
    parsed = parse(asked)
    assert parsed.errors == ()
    spelled = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in asked.items()}
    assert parse(spelled) == parsed
