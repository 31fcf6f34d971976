"""docs/troubleshooting.md has an entry for every id that a message can start with; docs/verification.md every check."""

import ast
import re
from pathlib import Path

import pytest

from verl_provision.plan import cluster, preflight
from verl_provision.select.rules import BACKEND_RULES, RULES

ROOT = Path(__file__).resolve().parents[3]
CHECKS = ROOT / "roles/verification/files/verl_checks"
TEXT = (ROOT / "docs/troubleshooting.md").read_text()
ENTRIES = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))


def checks():
    """The ids of the verification script's checks, and the one of its module."""
    texts = [path.read_text() for path in sorted(CHECKS.glob("*.py"))]
    found = re.findall(r'^@check\("([\w.]+)"\)', "\n".join(texts), re.M)
    assert len(found) > 25
    return [*found, "verify.run"]


def written_rules():
    """Ids written where a plan is made: `"rule": "x"`, `.row("x")` and `warn("x", ...)`."""
    found = set()
    for path in (ROOT / "src/verl_provision").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if getattr(key, "value", None) == "rule" and isinstance(value, ast.Constant):
                        found.add(value.value)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("row", "error"):
                found |= {
                    arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
                }
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("warn", "problem"):
                found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert {"wishes", "daemon_json", "internal"} <= found
    return found


def kinds():
    """What preflight asks for."""
    text = (ROOT / "module_utils/verl_container/preflight.py").read_text()
    return [preflight.RULE + kind for kind in re.findall(r'^    "(\w+)": \1,$', text, re.M)]


IDS = sorted(
    {rule.id for rule in RULES}
    | set(BACKEND_RULES)
    | set(cluster.RULES)
    | written_rules()
    | set(kinds())
    | set(checks())
)


@pytest.mark.parametrize("identity", IDS)
def test_every_id_has_an_entry(identity):
    assert identity in ENTRIES, f"docs/troubleshooting.md needs: ### {identity}"
    assert len(ENTRIES[identity].split()) > 8


def test_no_entry_is_about_what_is_gone():
    assert set(ENTRIES) - set(IDS) == set()


def test_every_check_has_its_row_in_verification():
    text = (ROOT / "docs/verification.md").read_text()
    assert [identity for identity in checks() if identity != "verify.run" and f"`{identity}`" not in text] == []


def test_every_check_says_what_it_is_about():
    for path in CHECKS.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_the_script_that_never_was_is_named_where_a_user_looks():
    for page in ("troubleshooting.md", "verification.md"):
        text = (ROOT / "docs" / page).read_text()
        assert "ppo_simple.py" in text
        assert "never existed" in text
