"""Every rule, in the order in which they are shown. Docs and tests iterate this list; nothing else decides.

A rule is a pure function `rule(candidate, facts, preferences, catalog)` that returns None, a Rejection, a Warning, or a
list of those. `scope` says how often it is asked: once for the host (`candidate` is None), for an image, or for an
image (or the source environment) with a release.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verl_provision.catalog.model import Catalog
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import driver, gpu, machine, pairing, requested

Function = Callable[[Any, SelectionFacts, Preferences, Catalog], "Finding | list[Finding] | None"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and how it is asked."""

    id: str
    scope: str  # host, image or pair
    function: Function
    forceable: bool = False  # verl_image_force turns its rejection into a warning

    @property
    def doc(self) -> str:
        """What the rule says, in one line."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


RULES = (
    Rule("vendor_apply", "host", gpu.vendor_apply),
    Rule("become_password", "host", machine.become_password),
    Rule("gpu_choice", "host", gpu.gpu_choice),
    Rule("driver_state", "host", driver.driver_state),
    Rule("gpus_missing", "host", driver.gpus_missing),
    Rule("driver_branch", "host", driver.driver_branch),
    Rule("first_driver", "host", driver.first_driver),
    Rule("end_of_life", "host", driver.end_of_life_driver),
    Rule("open_kernel_modules", "host", driver.open_kernel_modules),
    Rule("fabric_manager", "host", driver.fabric_manager),
    Rule("mixed_gpus", "host", gpu.mixed_gpus),
    Rule("mig", "host", gpu.mig),
    Rule("vendor", "image", gpu.vendor),
    Rule("cpu_architecture", "image", machine.cpu_architecture),
    Rule("compute_capability", "image", gpu.compute_capability),
    Rule("ptx_jit", "image", gpu.ptx_jit, forceable=True),
    Rule("end_of_life", "image", driver.end_of_life_cuda, forceable=True),
    Rule("driver_floor", "image", driver.driver_floor, forceable=True),
    Rule("native_driver", "image", driver.native_driver, forceable=True),
    Rule("forward_compat", "image", driver.forward_compat, forceable=True),
    Rule("engine", "image", requested.engine, forceable=True),
    Rule("trainer", "image", requested.trainer, forceable=True),
    Rule("defects", "image", requested.defects, forceable=True),
    Rule("disk", "image", machine.disk, forceable=True),
    Rule("release", "pair", pairing.release_wanted, forceable=True),
    Rule("release_pairing", "pair", pairing.release_pairing, forceable=True),
    Rule("python", "pair", pairing.python),
    Rule("source", "pair", pairing.source),
)

# Found where the backend is chosen, before there is a candidate: backend.py.
BACKEND_RULES = ("rights", "backend")


def ask(
    rule: Rule, candidate: Candidate | None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> list[Finding]:
    """The rule's findings as a list."""
    findings = rule.function(candidate, facts, preferences, catalog)
    if findings is None:
        return []
    return findings if isinstance(findings, list) else [findings]
