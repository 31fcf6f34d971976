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
    merits: ranking.Merits
    rank: tuple[Any, ...] = ()

    @property
    def warnings(self) -> list[Warning]:
        """What speaks against it and doesn't refuse it."""
        return [finding for dummy, finding in self.findings if isinstance(finding, Warning)]


def judge(
    pool: list[Candidate], facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[Judged]:
    """Every candidate with the findings of every rule, in order of rank."""
    by_image: dict[int, tuple[list[tuple[str, Any]], list[tuple[str, Any]], ranking.Suit]] = {}
    judged = []
    for candidate in pool:
        if id(candidate.image) not in by_image:
            about = _findings(IMAGE_RULES, candidate, facts, preferences, catalog)
            suits = ranking.suit(candidate, about, facts, preferences, advice, catalog)
            by_image[id(candidate.image)] = about, _refusing(about), suits
        about, refusing, suits = by_image[id(candidate.image)]
        pair = _of_pair(candidate, facts, preferences, catalog)
        merits = ranking.merits(candidate, pair, suits)
        if pair:
            judged.append(Judged(candidate, about + pair, refusing + _refusing(pair), merits))
        else:
            judged.append(Judged(candidate, about, refusing, merits))
    allowed = ranking.reach([item.merits for item in judged if not item.rejections], preferences)
    rank = ranking.by(preferences, allowed)
    for item in judged:
        item.rank = rank(item.merits)
    return sorted(judged, key=lambda item: item.rank)


def _refusing(findings: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [found for found in findings if isinstance(found[1], Rejection)]


def _of_pair(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> list[tuple[str, Any]]:
    """What the rules say of an image with a release. That depends on no host and on no wish: worked out once a catalog,
    and the rules are given neither; a source environment's depends on the host's Pythons."""
    image = candidate.image
    if image.source or not image.known or preferences.force:
        return _findings(PAIR_RULES, candidate, facts, preferences, catalog)
    key = image.id, candidate.release.version
    if key not in catalog.pairs:
        catalog.pairs[key] = _findings(PAIR_RULES, candidate, None, None, catalog)
    return catalog.pairs[key]


def _findings(
    rules: tuple[tuple[Rule, Any], ...],
    candidate: Candidate,
    facts: SelectionFacts | None,
    preferences: Preferences | None,
    catalog: Catalog,
) -> list[tuple[str, Any]]:
    found = []
    for rule, function in rules:
        said = function(candidate, facts, preferences, catalog)
        if said is not None:
            listed = said if isinstance(said, list) else [said]
            found += [(rule.id, _forced(rule, finding, preferences)) for finding in listed]
    return found


def _forced(rule: Rule, finding: Any, preferences: Preferences | None) -> Any:
    """`verl_image_force` turns a rejection into a warning, but not one about architecture."""
    if (
        preferences is None
        or not (preferences.force and preferences.image and rule.forceable)
        or not isinstance(finding, Rejection)
        or finding.hard
    ):
        return finding
    return Warning(f"forced against rule {rule.id}: found {finding.found}, needed {finding.needed}", finding.fix)
