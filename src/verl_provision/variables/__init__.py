"""Inventory variables: `verl_*` by one schema (catalog/schema/variables.json), `<role>_*` by the roles' own specs.

Everything that a user sets is read here, once for each host, before any host is touched.
"""

from verl_provision.variables.host import Reader, Variables
from verl_provision.variables.parse import Parsed, parse
from verl_provision.variables.request import Request
from verl_provision.variables.schema import Error, defaults, entries, schema, secrets

__all__ = ["Error", "Parsed", "Reader", "Request", "Variables", "defaults", "entries", "parse", "schema", "secrets"]
