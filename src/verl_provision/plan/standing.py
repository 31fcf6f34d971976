"""The release that stands on a host: a plan never goes below it by itself, as it would by an older catalog."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host
from verl_provision.plan.steps import source_environment, verl_checkout
from verl_provision.plan.steps.step import applied_hash
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

RELEASE = re.compile(r"v?(\d{1,4}(?:\.\d{1,4}){1,3}(?:\.post\d{1,4})?)", re.ASCII)
OPEN = ("auto", "latest")  # what leaves the release to us

Decide = Callable[[Request], tuple[Decision, str]]


def release(host: Host, backend: str | None) -> str | None:
    """The release of verl that a run of ours left here, None where there is none or it's another's."""
    if backend == "source":
        found, step = mapping(host.source).get("verl_version"), source_environment.NAME
    else:
        found, step = mapping(host.checkout).get("tag"), verl_checkout.NAME
    match = RELEASE.fullmatch(text(found) or "") if applied_hash(host, step) else None
    return match[1] if match else None


def keep(host: Host, request: Request, decision: Decision, name: str, decide: Decide) -> tuple[Request, Decision, str]:
    """The decision, or the one for the release that stands here where that is newer and nobody asked to go below it."""
    here = release(host, decision.backend)
    chosen = decision.candidate.release.version
    asked = request.version not in OPEN or request.image is not None or request.commit is not None
    if asked or here is None or versions.at_least(chosen, here):
        return request, decision, name
    held = replace(request, version=here)
    again, other = decide(held)
    if again.ok and again.backend == decision.backend:
        why = f"verl {here} stands here; {chosen}, which would be chosen now, is older: verl_version={chosen} takes it"
        return held, replace(again, why=[*again.why, why]), other
    return request, replace(decision, ok=False, candidate=None, errors=[*decision.errors, below(here, chosen)]), name


def below(here: str, chosen: str) -> dict[str, Any]:
    """The error of a host that would go back in silence."""
    return {
        "rule": "downgrade",
        "found": f"verl {here} stands here, and this controller would choose {chosen}",
        "needed": f"{here} or newer, since verl_version doesn't ask for an older one",
        "where": "verl_version",
        "fix": f"Bring this controller up to date (git pull): its catalog may be older than {here}. "
        f"To go back: set verl_version to {chosen}.",
    }
