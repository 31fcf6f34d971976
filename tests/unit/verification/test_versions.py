"""Version specifiers, as the checks read them."""

import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/verification/files"
sys.path.insert(0, str(FILES))

from verl_checks.core import meets  # noqa: E402  (the script's own package, beside the role)


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("3.11.2", "==3.11.*", True),
        ("3.12.0", "==3.11.*", False),
        ("3.110.0", "==3.11.*", False),
        ("3.11.2", "!=3.11.*", False),
        ("0.10.0", ">=0.8.0,<=0.10.0,!=0.9.0", True),
        ("0.9.0", ">=0.8.0,<=0.10.0,!=0.9.0", False),
        ("2.11.0+cu130", "2.11.0", True),
        ("5.9.1", "~=5.9.0", True),
        ("5.10.0", "~=5.9.0", False),
    ],
)
def test_meets(version, specifier, fits):
    assert meets(version, specifier) is fits
