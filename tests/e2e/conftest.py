"""Recorded hosts answer with the probes, which are below ansible.module_utils."""

import tests.unit.facts.conftest  # noqa: F401
