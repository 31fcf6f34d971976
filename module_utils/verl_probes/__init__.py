# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The probes of verl_host_facts: one concern per file, standard library only, Python 3.8 or newer."""
