"""Every candidate under every rule."""

from dataclasses import dataclass
from typing import Any

from verl_provision.catalog.model import Catalog
from verl_provision.select import ranking
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import RULES, Rule
from verl_provision.select.scenario import Advice

IMAGE_RULES = tuple((rule, rule.function) for rule in RULES if rule.scope == "image")
PAIR_RULES = tuple((rule, rule.function) for rule in RULES if rule.scope == "pair")


@dataclass(slots=True)
class Judged:
    """A candidate with what every rule said about it."""

    candidate: Candidate
    findings: list[tuple[str, Any]]  # (rule, Rejection or Warning)
    rejections: list[tuple[str, Rejection]]  # those of them that refuse it
    rank: tuple[Any, ...] = ()


def judge(
    pool: list[Candidate], facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[Judged]:
    """Every candidate with the findings of every rule, in order of rank."""
    by_image: dict[int, list[tuple[str, Any]]] = {}
    judged = []
    for candidate in pool:
        about = by_image.get(id(candidate.image))
        if about is None:
            about = by_image[id(candidate.image)] = _findings(IMAGE_RULES, candidate, facts, preferences, catalog)
        findings = about + _findings(PAIR_RULES, candidate, facts, preferences, catalog)
        rejections = [found for found in findings if isinstance(found[1], Rejection)]
        rank = ranking.rank(candidate, findings, facts, preferences, advice, catalog)
        judged.append(Judged(candidate, findings, rejections, rank))
    return sorted(judged, key=lambda item: item.rank)


def _findings(
    rules: tuple[tuple[Rule, Any], ...],
    candidate: Candidate,
    facts: SelectionFacts,
    preferences: Preferences,
    catalog: Catalog,
) -> list[tuple[str, Any]]:
    found = []
    for rule, function in rules:
        said = function(candidate, facts, preferences, catalog)
        if said is not None:
            listed = said if isinstance(said, list) else [said]
            found += [(rule.id, _forced(rule, finding, preferences)) for finding in listed]
    return found


def _forced(rule: Rule, finding: Any, preferences: Preferences) -> Any:
    """`verl_image_force` turns a rejection into a warning, but not one about architecture."""
    if (
        not (preferences.force and preferences.image and rule.forceable)
        or not isinstance(finding, Rejection)
        or finding.hard
    ):
        return finding
    return Warning(f"forced against rule {rule.id}: found {finding.found}, needed {finding.needed}", finding.fix)
