"""`python -m verl_provision.docs [--check]`: write the generated pages, or say which are out of date (exit 1)."""

import sys
from pathlib import Path

from verl_provision.docs import daemon_json, decision_table, faults, roles, site_variables, variables

ROOT = Path(__file__).resolve().parents[3]
WRITERS = (roles, variables, site_variables, daemon_json, faults, decision_table)


def pages() -> dict[Path, str]:
    """Every generated page: path -> text."""
    found: dict[Path, str] = {}
    for writer in WRITERS:
        found |= writer.pages(ROOT)
    return found


def main() -> int:
    """Write or check."""
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"out of date: {path.relative_to(ROOT)}; run: make docs", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path])
            print(f"wrote {path.relative_to(ROOT)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
