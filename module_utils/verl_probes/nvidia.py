# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver's state: one word, the reason with the values found, and the next command.

The kernel is asked first, then the file system, and nvidia-smi last: it is not run at all where the module is not
loaded, since as root it would load it.
"""

from __future__ import annotations

import re

from . import driver, fabric, os_, pci, smi

GUIDE = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"
UBUNTU_INSTALL = "sudo ubuntu-drivers install --gpgpu && sudo reboot"
BLACKLIST = r"printf 'blacklist nouveau\noptions nouveau modeset=0\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf"
LOOK_IN_LOG = "sudo dmesg | grep -E 'NVRM|Xid'"
PERSISTENCE = (
    "switch persistence mode on (sudo nvidia-smi -pm 1, or nvidia-persistenced): without it every call starts the GPUs "
    "anew, and verl_look_timeout gives it longer; then "
)
NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")  # a GPU that the PCI bus here doesn't show has one of them
WSL = "/usr/lib/wsl/lib"  # where Windows puts its driver's libraries and programs
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOST = re.compile(r"(?:device handle for|GPU at)\s+(?:GPU ?)?(?:PCI:)?([0-9A-Fa-f]{2,8}(?::[0-9A-Fa-f]{2}){2}\.[0-7])")
INITRAMFS = {"debian": "update-initramfs -u", "redhat": "dracut --force", "suse": "dracut --force"}


def empty():
    return {
        "state": "none",
        "reason": None,
        "fix": None,
        "driver_version": None,
        "userspace_version": None,
        "module_on_disk": None,
        "kernel_modules": None,
        "reboot_pending": False,
        "umd_cuda": None,
        "smi": {"path": None, "rc": None, "seconds": None},
        "gpus": [],
        "processes": [],
        "fabric_manager": {"installed": False, "active": None, "version": None, "nvswitch": False},
    }


def _count(items):
    return "1 NVIDIA GPU" if len(items) == 1 else "%d NVIDIA GPUs" % len(items)


def _is(items):
    return "is" if len(items) == 1 else "are"


def probe(host, found):
    """The facts under `nvidia`, from the PCI devices found."""
    facts = empty()
    on_bus = pci.nvidia_gpus(found)
    kernel = driver.loaded(host)
    facts["smi"]["path"] = host.which("nvidia-smi") or host.which("nvidia-smi", [host.file(WSL)])
    elsewhere = not on_bus and not kernel["loaded"]
    if elsewhere:
        # Its device nodes are there, so nvidia-smi loads no module.
        if not any(host.exists(path) for path in NODES) or not (facts["smi"]["path"] or _windows_driver(host)):
            return facts
        kernel["loaded"] = True
    facts["driver_version"] = kernel["version"]
    facts["module_on_disk"], flavour = driver.on_disk(host)
    facts["kernel_modules"] = kernel["flavour"] or flavour
    facts["userspace_version"] = driver.libraries(host)
    facts["fabric_manager"] = fabric.fabric_manager(host, found)
    if elsewhere and host.exists(NODES[-1]):
        facts["wsl"] = True
    if kernel["loaded"] is False:
        facts.update(_not_loaded(host, facts, on_bus))
    elif facts.get("wsl") and facts["smi"]["path"] is None:
        facts.update(
            state="error",
            reason="Windows' NVIDIA driver is there (WSL2), but its nvidia-smi is not in %s" % WSL,
            fix="wsl --update (in Windows), and Windows' NVIDIA driver of today; then run again",
        )
    elif facts["smi"]["path"] is None:
        facts.update(
            state="error",
            reason="the kernel module %s is loaded, but nvidia-smi is not on PATH: the driver's programs and "
            "libraries are missing" % (facts["driver_version"] or "nvidia"),
            fix="install the driver's user space in the same version: " + GUIDE,
        )
    else:
        _ask(host, facts, on_bus)
        fabric.state(host, facts)
    facts["reboot_pending"] = facts["state"] == "mismatch" or bool(
        facts["driver_version"] and facts["module_on_disk"] and facts["driver_version"] != facts["module_on_disk"]
    )
    return facts


def _windows_driver(host):
    return host.exists(WSL + "/libcuda.so.1")


def _secure_boot(host):
    content = host.read_bytes(host.kernel(SECURE_BOOT), 16)
    return bool(content) and content[-1:] == b"\x01"


def _load(host):
    """The command that loads the module, or what has to come before it on this host."""
    if not _secure_boot(host):
        return "sudo modprobe nvidia", ""
    key = "sudo mokutil --import /var/lib/dkms/mok.pub"
    if host.which("update-secureboot-policy"):
        key = "sudo update-secureboot-policy --enroll-key"
    return (
        "%s && sudo reboot, and enrol the key (MOK) in the firmware's menu; or use the distribution's signed modules, "
        "or switch Secure Boot off: modprobe refuses a module that is not signed by an enrolled key" % key,
        ", and Secure Boot is on",
    )


def _build(host, loading):
    """How this host's module is built for the running kernel."""
    if host.which("akmods"):
        return "sudo akmods --force && " + loading
    if host.which("dkms"):
        return "sudo dkms autoinstall && " + loading
    return "install the driver's kernel modules for this kernel (or dkms, with the kernel's headers): " + GUIDE


def _not_loaded(host, facts, on_bus):
    """Why the module is not there: nouveau in its place, another driver, not loaded, or no driver at all."""
    drivers = sorted({item["driver"] for item in on_bus if item["driver"]})
    installed = facts["module_on_disk"] or facts["userspace_version"] or facts["smi"]["path"]
    if "nouveau" in drivers:
        return _nouveau(host, [item for item in on_bus if item["driver"] == "nouveau"], installed)
    if drivers and "nvidia" not in drivers:
        return {
            "state": "not_loaded",
            "reason": "%s %s on the PCI bus, bound to %s instead of nvidia"
            % (_count(on_bus), _is(on_bus), " and ".join(drivers)),
            "fix": "give the GPUs back to the host (they are reserved for virtual machines where the driver is "
            "vfio-pci), then: sudo modprobe nvidia",
        }
    loading, secure = _load(host)
    where = "%s %s on the PCI bus" % (_count(on_bus), _is(on_bus))
    if facts["module_on_disk"]:
        return {
            "state": "not_loaded",
            "reason": "%s and the driver %s is on disk, but the kernel module nvidia is not loaded%s"
            % (where, facts["module_on_disk"], secure),
            "fix": loading,
        }
    if installed:
        return {
            "state": "not_loaded",
            "reason": "%s and the driver's programs %s are installed, but there is no kernel module nvidia for the "
            "running kernel %s%s" % (where, facts["userspace_version"] or "(nvidia-smi)", host.uname().release, secure),
            "fix": _build(host, loading),
        }
    release = os_.os_release(host.read(host.file("/etc/os-release")))
    ubuntu = release.get("ID") == "ubuntu"
    return {
        "state": "not_installed",
        "reason": "%s, but no NVIDIA driver is installed" % where,
        "fix": UBUNTU_INSTALL if ubuntu else "install the driver, then reboot: " + GUIDE,
    }


def _nouveau(host, bound, installed):
    addresses = ", ".join(item["address"] for item in bound)
    release = os_.os_release(host.read(host.file("/etc/os-release")))
    rebuild = INITRAMFS.get(os_.family(release), "dracut --force")
    return {
        "state": "nouveau",
        "reason": "the NVIDIA %s %s %s bound to the nouveau driver, which CUDA cannot use%s"
        % (
            "GPU" if len(bound) == 1 else "GPUs",
            addresses,
            _is(bound),
            "" if installed else "; NVIDIA's driver is not installed",
        ),
        "fix": "%s && sudo %s && sudo reboot%s"
        % (BLACKLIST, rebuild, "" if installed else ", then install the driver: " + GUIDE),
    }


def _ask(host, facts, on_bus):
    """nvidia-smi, once the kernel module is there."""
    path = facts["smi"]["path"]
    result, fields = smi.query_gpus(host, path)
    facts["smi"].update(rc=result.rc, seconds=result.seconds)
    lost = sorted(set(LOST.findall(result.stdout + result.stderr)))
    if lost:
        facts["lost"] = lost
    if result.ok and "No devices were found" not in result.stdout:
        facts["gpus"], version = smi.parse_gpus(result.stdout, fields)
        facts["driver_version"] = facts["driver_version"] or version
    if facts["gpus"]:
        facts["state"] = "ok"
        own, facts["umd_cuda"] = smi.versions(host, path)
        facts["userspace_version"] = facts["userspace_version"] or own
        smi.count_mig(host, path, facts["gpus"])
        facts["processes"] = smi.processes(host, path)
        return
    state, reason, fix = _failure(facts, result, on_bus)
    facts.update(state=state, reason=reason, fix=fix)
    if result.timed_out or result.error:
        host.note("nvidia-smi", result.error)


def _failure(facts, result, on_bus):
    """(state, reason, fix) of an nvidia-smi that did not list GPUs."""
    module = facts["driver_version"] or "of unknown version"
    said = result.message().rstrip(".")
    if result.timed_out:
        return (
            "timeout",
            "nvidia-smi gave %s and was killed, while the kernel module %s is loaded: the driver or a GPU hangs, or "
            "the GPUs start too slowly" % (result.error, module),
            PERSISTENCE + LOOK_IN_LOG,
        )
    output = result.stdout + result.stderr
    if result.rc == smi.MISMATCH or "Driver/library version mismatch" in output:
        nvml = smi.NVML.search(output)
        facts["userspace_version"] = facts["userspace_version"] or (nvml.group(1) if nvml else None)
        return (
            "mismatch",
            "the loaded kernel module is %s, but the driver's libraries are %s (nvidia-smi exit status %s: "
            "Driver/library version mismatch)" % (module, facts["userspace_version"] or "another version", result.rc),
            "sudo reboot",
        )
    if facts.get("lost"):
        lines = [line.strip() for line in output.splitlines() if LOST.search(line)]
        detail = "nvidia-smi exit status %s: %s (kernel module %s)" % (result.rc, lines[0].rstrip(".")[:300], module)
        return "error", detail, LOOK_IN_LOG + "   # then: sudo reboot"
    if result.rc == smi.NOT_FOUND or "No devices were found" in output or (result.ok and not output.strip()):
        return (
            "no_devices",
            "the kernel module %s is loaded but drives no GPU; %s on the PCI bus (nvidia-smi: No devices were found)"
            % (module, "%s %s" % (_count(on_bus), _is(on_bus)) if on_bus else "none is"),
            LOOK_IN_LOG,
        )
    if result.rc == smi.NO_DRIVER and not facts["driver_version"]:
        return "not_loaded", "nvidia-smi exit status 9: %s" % said, "sudo modprobe nvidia"
    detail = "nvidia-smi exit status %s: %s (kernel module %s)" % (result.rc, said, module)
    if result.rc is None:
        detail = "nvidia-smi: %s (kernel module %s)" % (said, module)
    fixes = {
        smi.NO_PERMISSION: "ls -l /dev/nvidia*   # the login user needs to read and write them",
        smi.NO_LIBRARY: "install the driver's libraries in version %s: %s" % (module, GUIDE),
        smi.INFOROM: "sudo nvidia-smi -q | grep -i inforom   # a corrupt infoROM is the vendor's to repair",
        smi.GPU_LOST: LOOK_IN_LOG + "   # then: sudo reboot",
    }
    return "error", detail, fixes.get(result.rc, LOOK_IN_LOG)
