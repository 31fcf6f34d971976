"""Dependency gates: what fits together only by luck is checked after a build, each with found, needed and fix.

Read from metadata and files; nothing is imported, so that they take no seconds and need no GPU. A gate that has
nothing to look at is skipped (ok is None), and a skipped one is never a passed one.
"""

from __future__ import annotations

import glob
import mmap
import os
import re

from ansible.module_utils.verl_source import checkout, interpreter
from ansible.module_utils.verl_source.environment import base
from ansible.module_utils.verl_state.files import tail

# c10::detail::torchCheckFail(char const*, char const*, unsigned, std::string const&), by the two ABIs of std::string.
OLD_ABI = b"_ZN3c106detail14torchCheckFailEPKcS2_jRKSs"
NEW_ABI = b"_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_string"


def gate(name, ok, found, needed, fix):
    return {"id": "gate." + name, "ok": ok, "found": found, "needed": needed, "fix": "" if ok else fix}


class Gates:
    """All gates of one environment. `wanted` is the option `gates` of the module."""

    def __init__(self, env, wanted, profile):
        self.env = env
        self.wanted = wanted or {}
        self.profile = profile
        self.present = env.distributions()

    def version(self, name):
        return self.present.get(name, (None, None))[0]

    def run(self):
        """The list of checks."""
        return [
            self.torch_driver(),
            self.torch_vllm(),
            self.flash_attn_abi(),
            self.cudnn(),
            self.vllm_floor(),
            self.needs("tensordict", "tensordict", self.wanted.get("tensordict")),
            self.needs("numpy", "numpy", self.wanted.get("numpy")),
            self.transfer_queue(),
        ]

    def torch_driver(self):
        torch, cuda = self.env.torch_build()
        driver = self.wanted.get("driver")
        if self.profile != "gpu":
            return gate("torch_driver", None, "no GPU is used here", "", "")
        if torch and not cuda:
            return gate("torch_driver", False, "torch %s is built without CUDA" % torch, "a CUDA build of torch",
                        "unset source_environment_torch_index, remove the environment and run again")  # fmt: skip
        floor = (self.wanted.get("driver_floor") or {}).get((cuda or "").split(".")[0])
        if not (driver and floor):
            return gate("torch_driver", None, "torch %s for CUDA %s; the driver isn't known" % (torch, cuda), "", "")
        return gate(
            "torch_driver",
            interpreter.satisfies(driver, ">=%s" % floor),
            "driver %s, torch %s for CUDA %s" % (driver, torch, cuda),
            "driver >= %s for CUDA %s" % (floor, cuda.split(".")[0]),
            "upgrade the driver, or choose an older verl_version whose torch is built for the driver's CUDA",
        )

    def torch_vllm(self):
        vllm, torch = self.version("vllm"), self.version("torch")
        if not vllm:
            return gate("torch_vllm", None, "vllm is not installed", "", "")
        return gate("torch_vllm", bool(torch) and interpreter.satisfies(base(torch), ">=2"),
                    "torch %s with vllm %s" % (torch, vllm), "torch >= 2 for any vllm",
                    "set source_environment_torch to the release's (2.x), then run again")  # fmt: skip

    def torch_abi(self):
        """Whether torch was built with the C++11 ABI of std::string; None where it doesn't say."""
        site = self.env.site_packages() or ""
        text = tail(os.path.join(site, "torch", "share", "cmake", "Torch", "TorchConfig.cmake"))
        match = re.search(r"_GLIBCXX_USE_CXX11_ABI=([01])", text)
        return match.group(1) == "1" if match else None

    def flash_abi(self):
        """The same of flash-attn: by the wheel it came from, else by the symbols it asks torch for."""
        url = tail(os.path.join(self.present["flash-attn"][1], "direct_url.json"))
        match = re.search(r"cxx11abi(TRUE|FALSE)", url)
        if match:
            return match.group(1) == "TRUE"
        for path in glob.glob(os.path.join(self.env.site_packages(), "flash_attn_2_cuda*.so")):
            with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(NEW_ABI) >= 0:
                    return True
                if content.find(OLD_ABI) >= 0:
                    return False
        return None

    def flash_attn_abi(self):
        flash = self.version("flash-attn")
        if not flash:
            return gate("flash_attn_abi", None, "flash-attn is not installed", "", "")
        torch, own = self.torch_abi(), self.flash_abi()
        if torch is None or own is None:
            side = "torch" if torch is None else "flash-attn"
            return gate("flash_attn_abi", None, "%s doesn't say which ABI it was built with" % side, "", "")
        words = {True: "cxx11abiTRUE", False: "cxx11abiFALSE"}
        return gate("flash_attn_abi", torch == own,
                    "flash-attn %s is %s, torch %s is %s" % (flash, words[own], self.version("torch"), words[torch]),
                    "flash-attn built as torch is: %s" % words[torch],
                    "pip install --force-reinstall --no-deps the flash-attn wheel whose name has %s, this torch and "
                    "this Python; or build it here with FLASH_ATTENTION_FORCE_BUILD=TRUE" % words[torch])  # fmt: skip

    def cudnn(self):
        """torch names the cuDNN it was built with; an older one under it fails at the first convolution."""
        needs = checkout.requirements(self.present["torch"][1]) if "torch" in self.present else []
        wanted = [re.match(r"(nvidia-cudnn-cu\d+)\s*(?:\(==|==)\s*([\d.]+)", need) for need in needs]
        wanted = [match for match in wanted if match]
        if not wanted:
            return gate("cudnn", None, "this torch brings no cuDNN of its own", "", "")
        name, release = wanted[0].groups()
        found = self.version(name)
        return gate("cudnn", bool(found) and interpreter.satisfies(found, ">=%s" % release),
                    "%s %s" % (name, found or "is not installed"),
                    "%s >= %s, as torch was built with" % (name, release),
                    "%s -m pip install %s==%s" % (self.env.python, name, release))  # fmt: skip

    def vllm_floor(self):
        vllm, floor = self.version("vllm"), self.wanted.get("vllm_floor")
        if not (vllm and floor):
            return gate("vllm_floor", None, "nothing to compare", "", "")
        also = [str(version) for version in self.wanted.get("vllm_also") or []]
        needed = "vllm >= %s%s" % (floor, " or one of %s" % ", ".join(also) if also else "")
        return gate("vllm_floor", base(vllm) in also or interpreter.satisfies(base(vllm), ">=%s" % floor),
                    "vllm %s" % vllm, needed + ", else importing verl fails",
                    "%s -m pip install 'vllm>=%s'" % (self.env.python, floor))  # fmt: skip

    def needs(self, name, package, specifier):
        found = self.version(package)
        if not specifier:
            return gate(name, None, "%s %s" % (package, found or "is not installed"), "", "")
        needed = "%s %s" % (package, specifier)
        return gate(name, bool(found) and interpreter.satisfies(base(found), specifier),
                    "%s %s" % (package, found or "is not installed"), needed,
                    "%s -m pip install '%s%s'" % (self.env.python, package, specifier))  # fmt: skip

    def transfer_queue(self):
        found = self.version("transferqueue")
        if not self.wanted.get("transfer_queue"):
            return gate("transfer_queue", None, "TransferQueue %s; not needed" % (found or "is not installed"), "", "")
        return gate("transfer_queue", bool(found), "TransferQueue %s" % (found or "is not installed"),
                    "TransferQueue, which verl's trainer imports and its metadata doesn't name",
                    "add TransferQueue to source_environment_extra_packages, then run again")  # fmt: skip


def failures(checks):
    """The failed ones as sentences."""
    return ["%(id)s: found %(found)s, needed %(needed)s. %(fix)s" % item for item in checks if item["ok"] is False]
