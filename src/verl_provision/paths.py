"""Where the project's other parts lie: in a clone and in a collection around `src/`, in a wheel beside this file."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
BUNDLED = HERE / "project"  # made by setup.py
ROOT = BUNDLED if BUNDLED.is_dir() else HERE.parents[1]
CATALOG = ROOT / "catalog"
INVENTORY = ROOT / "inventories/local"
EXAMPLE = ROOT / "inventories/example-cluster"


def reports() -> Path:
    """Where runs are kept: in the clone; for what is installed, in the folder where the user is."""
    return (ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()) / "reports"
