# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""PCI devices, from /sys/bus/pci/devices."""

from __future__ import annotations

import os

NVIDIA, AMD, HUAWEI = "10de", "1002", "19e5"
DISPLAY, ACCELERATOR, BRIDGE = "03", "12", "06"
NVSWITCH_CLASS = "0680"

# Data-centre products only: a desktop's Radeon is no accelerator that verl could use.
INSTINCT = {
    "738c": "AMD Instinct MI100",
    "738e": "AMD Instinct MI100",
    "7408": "AMD Instinct MI250X",
    "740c": "AMD Instinct MI250X/MI250",
    "740f": "AMD Instinct MI210",
    "74a0": "AMD Instinct MI300A",
    "74a1": "AMD Instinct MI300X",
    "74a2": "AMD Instinct MI308X",
    "74a5": "AMD Instinct MI325X",
    "74a9": "AMD Instinct MI300X HF",
    "75a0": "AMD Instinct MI350X",
    "75a3": "AMD Instinct MI355X",
}
ASCEND = {
    "d801": "Ascend 910",
    "d802": "Ascend 910B",
    "d803": "Ascend 910C",
    "d500": "Ascend 310P",
    "d100": "Ascend 310",
}


def _from_uevent(content):
    """(vendor, device, class, driver) of the one file that has them all."""
    values = dict(line.partition("=")[::2] for line in content.splitlines())
    vendor, dummy, device = values.get("PCI_ID", "").lower().partition(":")
    return vendor, device, values.get("PCI_CLASS", "").lower().zfill(6), values.get("DRIVER") or None


def _from_files(host, directory):
    values = [(host.read(os.path.join(directory, name), 64) or "") for name in ("vendor", "device", "class")]
    vendor, device, kind = (value[2:].lower() if value.startswith("0x") else "" for value in values)
    driver = os.path.join(directory, "driver")
    return vendor, device, kind, os.path.basename(os.readlink(driver)) if os.path.islink(driver) else None


def devices(host):
    """Every PCI device as {address, vendor, device, class, driver}."""
    base = host.kernel("/sys/bus/pci/devices")
    found = []
    for address in host.listdir(base):
        directory = os.path.join(base, address)
        uevent = host.read(os.path.join(directory, "uevent"), 4096) or ""
        vendor, device, kind, driver = _from_uevent(uevent) if "PCI_ID=" in uevent else _from_files(host, directory)
        if len(vendor) == 4 and len(device) == 4:
            found.append({"address": address, "vendor": vendor, "device": device, "class": kind[:4], "driver": driver})
    return found


def gpus(found):
    """Display, 3D and accelerator devices of the vendors that make training hardware."""
    wanted = (NVIDIA, AMD, HUAWEI)
    return [
        {key: item[key] for key in ("address", "vendor", "device", "driver")}
        for item in found
        if item["vendor"] in wanted and item["class"][:2] in (DISPLAY, ACCELERATOR)
    ]


def nvidia_gpus(found):
    return [item for item in found if item["vendor"] == NVIDIA and item["class"][:2] == DISPLAY]


def nvswitches(found):
    return [item for item in found if item["vendor"] == NVIDIA and item["class"] == NVSWITCH_CLASS]


def _accelerators(items, names):
    name = next((names[item["device"]] for item in items if item["device"] in names), None)
    return {"present": bool(items), "name": name, "devices": len(items)}


def others(found):
    amd = [
        item
        for item in found
        if item["vendor"] == AMD and (item["device"] in INSTINCT or item["class"][:2] == ACCELERATOR)
    ]
    ascend = [item for item in found if item["vendor"] == HUAWEI and item["class"][:2] == ACCELERATOR]
    return {"amd": _accelerators(amd, INSTINCT), "ascend": _accelerators(ascend, ASCEND)}
