"""Manifests for orchestrators: `model` makes one Job from a decision, `targets` says what each can't have and why,
`files` fills in its templates. Pure but for reading the catalog and our own templates."""

from verl_provision.render.files import render
from verl_provision.render.model import Job, Refused, job
from verl_provision.render.targets import TARGETS

__all__ = ["TARGETS", "Job", "Refused", "job", "render"]
