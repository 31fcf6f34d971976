# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Pull mode (role pull_timer): where a run from outside says that it is at work."""

from __future__ import annotations

import os

HOLD = "/var/lib/verl-provision/pull/hold"


def probe(host):
    """{} where there is no pull mode, or where this very run is a pull run."""
    if os.environ.get("VERL_PROVISION_PULL") or not host.exists(host.file(HOLD)):
        return {}
    return {"pull": {"hold": HOLD}}
