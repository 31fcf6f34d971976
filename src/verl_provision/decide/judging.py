"""Every candidate under every rule."""

from dataclasses import dataclass
from typing import Any

from verl_provision.decide import ranking
from verl_provision.decide.candidates import Candidate
from verl_provision.decide.findings import Rejection, Warning
from verl_provision.decide.host import Host
from verl_provision.decide.rules import RULES, Rule, ask
from verl_provision.decide.scenario import Wants
from verl_provision.decide.wanted import Wishes
from verl_provision.decide.world import World


@dataclass(slots=True)
class Judged:
    """A candidate with what every rule said about it."""

    candidate: Candidate
    findings: list[tuple[str, Any]]  # (rule, Rejection or Warning)
    rank: tuple[Any, ...] = ()

    @property
    def rejections(self) -> list[tuple[str, Rejection]]:
        """The rules that refuse it."""
        return [(rule, finding) for rule, finding in self.findings if isinstance(finding, Rejection)]


def judge(pool: list[Candidate], host: Host, wishes: Wishes, wants: Wants, world: World) -> list[Judged]:
    """Every candidate with the findings of every rule, in order of rank."""
    by_image: dict[int, list[tuple[str, Any]]] = {}
    judged = []
    for candidate in pool:
        about = by_image.get(id(candidate.image))
        if about is None:
            about = by_image[id(candidate.image)] = _findings("image", candidate, host, wishes, world)
        findings = about + _findings("pair", candidate, host, wishes, world)
        judged.append(Judged(candidate, findings, ranking.rank(candidate, findings, host, wishes, wants, world)))
    return sorted(judged, key=lambda item: item.rank)


def _findings(scope: str, candidate: Candidate, host: Host, wishes: Wishes, world: World) -> list[tuple[str, Any]]:
    found = []
    for rule in RULES:
        if rule.scope == scope:
            found += [
                (rule.id, _forced(rule, finding, wishes)) for finding in ask(rule, candidate, host, wishes, world)
            ]
    return found


def _forced(rule: Rule, finding: Any, wishes: Wishes) -> Any:
    """`verl_image_force` turns a rejection into a warning, but not one about architecture."""
    if not (wishes.force and wishes.image and rule.forceable) or not isinstance(finding, Rejection) or finding.hard:
        return finding
    return Warning(f"forced against rule {rule.id}: found {finding.found}, needed {finding.needed}", finding.fix)
