"""Level gpu: CUDA works on every GPU, with a right result, and the GPUs are in health.

What nvidia-smi can be asked differs by driver: a field is asked for only where `--help-query-gpu` lists it.
"""

import os
import re

from verl_checks.core import Skip, Wrong, bring_in, check, no_gpu, smi

# PyTorch's own rule (torch/cuda/__init__.py): code for X.Y runs on X.Z with Z >= Y. These pairs are the exceptions.
NOT_ON = {"5.0": ["5.3"], "5.2": ["5.3"], "6.0": ["6.2"], "6.1": ["6.2"], "7.0": ["7.2"], "8.0": ["8.7"],
          "8.6": ["8.7"], "10.0": ["10.1"]}  # fmt: skip
ONLY_ON = {"5.3": ["5.3"], "6.2": ["6.2"], "7.2": ["7.2"], "8.7": ["8.7"], "10.1": ["10.1", "11.0"],
           "11.0": ["10.1", "11.0"]}  # fmt: skip
RESET = "stop what runs on that GPU, then: nvidia-smi --gpu-reset -i %s; where it stays, have the GPU replaced"
# Xids that say the GPU or its memory is broken, or waits for a reset; others come from a program's own mistakes.
BAD_XIDS = {48, 62, 64, 74, 79, 92, 95, 109, 119, 120, 136, 140, 143, 155, 156}


def needs_gpu(request):
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)


def dotted(code):
    """sm_90 -> 9.0, sm_100a -> 10.0, None for what isn't a code."""
    match = re.match(r"(?:sm|compute)_(\d+)(\d)[a-z]?$", code)
    return "%s.%s" % match.groups() if match else None


def runs(code, capability):
    """Whether machine code for `code` (9.0) runs on a GPU of `capability` (9.0)."""
    if code in ONLY_ON:
        return capability in ONLY_ON[code]
    if capability in NOT_ON.get(code, ()):
        return False
    family, minor = code.split(".")
    gpu_family, gpu_minor = capability.split(".")
    return family == gpu_family and int(minor) <= int(gpu_minor)


def code_for(capability, arch_list):
    """`sass`, `ptx` (compiled when first used) or None: how this build would run on that GPU."""
    # A trailing letter (sm_90a) means that exact GPU.
    exact = [dotted(code) for code in arch_list if code.startswith("sm_") and code[-1].isalpha()]
    machine = [dotted(code) for code in arch_list if code.startswith("sm_") and not code[-1].isalpha()]
    if capability in exact or any(runs(code, capability) for code in machine if code):
        return "sass"
    number = tuple(int(part) for part in capability.split("."))
    virtual = [dotted(code) for code in arch_list if code.startswith("compute_") and not code[-1].isalpha()]
    if any(tuple(int(part) for part in code.split(".")) <= number for code in virtual if code):
        return "ptx"
    return None


def cuda(request):
    """torch with CUDA initialised, or the check fails with CUDA's own words."""
    torch = bring_in("torch", request, "torch with CUDA")
    try:
        torch.cuda.init()
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        fix = (
            "on the host: nvidia-smi, and on NVSwitch boards: systemctl status nvidia-fabricmanager; "
            + request["recreate"]
        )
        raise Wrong("CUDA doesn't start: %s" % said[:400], "torch.cuda.init() to work", fix) from error
    return torch


def fields(wanted):
    """Those of `wanted` that this nvidia-smi can be asked for."""
    known = set(re.findall(r'"([\w.]+)"', smi("--help-query-gpu")))
    return [name for name in wanted if name in known]


def query(names):
    """[{field: value}], one for each GPU; values that nvidia-smi doesn't have are left out."""
    rows = []
    for line in smi("--query-gpu=index,%s" % ",".join(names), "--format=csv,noheader,nounits").splitlines():
        values = [value.strip() for value in line.split(",")]
        row = dict(zip(["index"] + names, values))  # noqa: B905 - Python 3.8 has no strict=
        rows.append({name: value for name, value in row.items() if not re.match(r"\[?(N/A|Not |Unknown)", value)})
    return rows


def known(wanted, what):
    """Ask for fields; skips where this driver, or every GPU, has none of them."""
    names = fields(wanted)
    if not names:
        raise Skip("this driver's nvidia-smi can't be asked for %s" % what)
    rows = query(names)
    if not any(name in row for row in rows for name in names):
        raise Skip("these GPUs don't tell their %s" % what)
    return names, rows


@check("gpu.count")
def count(request, versions):
    """CUDA sees as many GPUs as planned."""
    needs_gpu(request)
    wanted = request["expected"]["gpus"]
    torch = cuda(request)
    seen = torch.cuda.device_count()
    needed = "torch.cuda.device_count() %d" % wanted
    if seen != wanted:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = "%d GPUs%s" % (seen, " (CUDA_VISIBLE_DEVICES=%s)" % hidden if hidden is not None else "")
        raise Wrong(found, needed, request["recreate"])
    return "%d GPUs" % seen, needed


@check("gpu.arch")
def arch(request, versions):
    """torch has machine code for every GPU's compute capability."""
    needs_gpu(request)
    torch = cuda(request)
    arch_list = torch.cuda.get_arch_list()
    versions["arch_list"] = " ".join(arch_list)
    needed = "code for it in torch.cuda.get_arch_list() (%s)" % " ".join(arch_list)
    found, missing, compiled = set(), [], []
    for index in range(torch.cuda.device_count()):
        capability = "%d.%d" % torch.cuda.get_device_capability(index)
        found.add(capability)
        how = code_for(capability, arch_list)
        if how is None:
            missing.append(
                "GPU %d (%s) has compute capability %s" % (index, torch.cuda.get_device_name(index), capability)
            )
        elif how == "ptx":
            compiled.append(str(index))
    if missing:
        fix = "use an image built for this GPU: verl-provision explain shows which; " + request["recreate"]
        raise Wrong("; ".join(missing), needed, fix)
    text = "compute capability %s" % ", ".join(sorted(found))
    if compiled:
        text += ", compiled from PTX at first use on GPU %s" % ", ".join(compiled)
    return text, needed


@check("gpu.matmul")
def matmul(request, versions):
    """A bf16 matrix product on every GPU is exactly what the CPU computes."""
    needs_gpu(request)
    torch = cuda(request)
    # Entries of -1, 0, 1 and 256 terms: every sum is a whole number that bf16 holds exactly, so equal means equal.
    torch.manual_seed(1)
    left, right = torch.randint(-1, 2, (1024, 256)).float(), torch.randint(-1, 2, (256, 1024)).float()
    truth = left @ right
    needed = "the CPU's result, on each GPU"
    wrong, busy, right_on = [], [], []
    for index in range(torch.cuda.device_count()):
        name = "GPU %d" % index
        # V100 and older have no bf16 of their own.
        kind = torch.bfloat16 if torch.cuda.get_device_capability(index)[0] >= 8 else torch.float16
        try:
            product = left.to("cuda:%d" % index, kind) @ right.to("cuda:%d" % index, kind)
            different = int((product.float().cpu() != truth).sum())
        except Exception as error:
            if "out of memory" in str(error):
                busy.append(name)
                continue
            wrong.append("%s: %s" % (name, (str(error).strip().splitlines() or [type(error).__name__])[0][:200]))
            continue
        if different:
            wrong.append("%s: %d of %d results differ" % (name, different, truth.numel()))
        else:
            right_on.append("%d (%s)" % (index, str(kind).rpartition(".")[2]))
    if wrong:
        raise Wrong("; ".join(wrong), needed, RESET % wrong[0].split()[1].rstrip(":"))
    if busy:
        raise Skip("no memory is free on %s: try again when what runs there has ended" % ", ".join(busy))
    return "exact on GPU %s" % ", ".join(right_on), needed


@check("gpu.ecc")
def ecc(request, versions):
    """No uncorrected memory error since the driver was loaded."""
    needs_gpu(request)
    name = "ecc.errors.uncorrected.volatile.total"
    _names, rows = known([name], "ECC errors")
    bad = [row for row in rows if row.get(name, "0") != "0"]
    if bad:
        found = "; ".join("GPU %s: %s uncorrected errors" % (row["index"], row[name]) for row in bad)
        raise Wrong(found, "no uncorrected memory error", RESET % bad[0]["index"])
    return "no uncorrected memory error", "no uncorrected memory error"


@check("gpu.remapped_rows")
def remapped_rows(request, versions):
    """No row of GPU memory waits for a reset to be remapped, and none failed to be."""
    needs_gpu(request)
    needed = "no pending and no failed remapping, no pending page retirement"
    names, rows = known(["remapped_rows.pending", "remapped_rows.failure", "retired_pages.pending"], "remapped rows")
    bad = [(row["index"], name) for row in rows for name in names if row.get(name, "0").lower() not in ("0", "no")]
    if bad:
        found = "; ".join("GPU %s: %s" % pair for pair in bad)
        raise Wrong(found, needed, RESET % bad[0][0])
    return "none pending, none failed", needed


@check("gpu.xid")
def xid(request, versions):
    """The driver has reported no error that says a GPU is broken, and asks for no reset."""
    needs_gpu(request)
    needed = "no recovery asked for, no Xid of broken hardware in the kernel's log"
    told, problems = [], []
    if fields(["gpu_recovery_action"]):
        told.append("no recovery action is asked for")
        for row in query(["gpu_recovery_action"]):
            action = row.get("gpu_recovery_action", "None")
            if action.lower() != "none":
                problems.append("GPU %s asks for: %s" % (row["index"], action))
    lines = kernel_log(request.get("kmsg", "/dev/kmsg"))
    if lines is not None:
        told.append("no such Xid in the kernel's log")
        seen = re.findall(r"NVRM: Xid \(([^)]*)\): (\d+)", "\n".join(lines))
        for place, number in sorted({(place, int(number)) for place, number in seen if int(number) in BAD_XIDS}):
            problems.append("Xid %d on %s" % (number, place))
    if problems:
        raise Wrong("; ".join(problems), needed, RESET % "all (or reboot)")
    if not told:
        raise Skip("this nvidia-smi knows no gpu_recovery_action, and the kernel's log can't be read here")
    return ", ".join(told), needed


def kernel_log(path):
    """The kernel's log since the boot, None where it can't be read (as in most containers)."""
    lines = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        while True:
            part = os.read(descriptor, 65536)
            if not part:
                break
            lines += part.decode("utf-8", "replace").splitlines()
    except BlockingIOError:
        pass  # the end of /dev/kmsg
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return lines


@check("gpu.throttle")
def throttle(request, versions):
    """No GPU is slowed down by heat or by its power supply."""
    needs_gpu(request)
    reasons = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
    names = fields(["clocks_event_reasons.%s" % reason for reason in reasons])
    if not names:  # the name before R535
        names = fields(["clocks_throttle_reasons.%s" % reason for reason in reasons])
    if not names:
        raise Skip("this driver's nvidia-smi can't be asked for throttling reasons")
    rows = query(names)
    bad = [(row["index"], name.split(".")[1]) for row in rows for name in names if row.get(name) == "Active"]
    if bad:
        fix = "look at cooling and power: nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER"
        raise Wrong("; ".join("GPU %s: %s" % pair for pair in bad), "no slowdown by heat or power", fix)
    return "no slowdown by heat or power", "no slowdown by heat or power"


@check("gpu.nvlink")
def nvlink(request, versions):
    """Every NVLink is up, and the NVSwitch fabric is ready."""
    needs_gpu(request)
    needed = "every link active, and a fabric that is ready where there is one"
    problems, ready = [], []
    names = fields(["fabric.state", "fabric.status"])
    for row in query(names) if names else []:
        state, status = row.get("fabric.state"), row.get("fabric.status")
        if state is None:
            continue
        ready.append(row["index"])
        if state != "Completed" or status not in (None, "Success"):
            problems.append("GPU %s: fabric %s, %s" % (row["index"], state, status or "no status"))
    links = links_of(smi("nvlink", "--status")) if request["expected"]["gpus"] > 1 else []
    # Bridges between PCIe cards may be there for some of the links only.
    whole = [gpu for gpu in links if gpu["up"] and not re.search(r"PCIe|NVL|RTX|GeForce", gpu["name"])]
    for gpu in whole:
        if gpu["down"]:
            problems.append("GPU %s: %d of %d links down" % (gpu["index"], gpu["down"], gpu["up"] + gpu["down"]))
    if problems:
        fix = "on the host: systemctl status nvidia-fabricmanager; nvidia-smi nvlink --status; dmesg | grep -i nvrm"
        raise Wrong("; ".join(problems), needed, fix)
    up = sorted({gpu["up"] for gpu in links if gpu["up"]})
    if not up and not ready:
        raise Skip("no GPU here has an active NVLink or a fabric")
    text = ["%s links up on %d GPUs" % ("/".join(map(str, up)), len([g for g in links if g["up"]]))] if up else []
    text += ["fabric ready on %d GPUs" % len(ready)] if ready else []
    return ", ".join(text), needed


def links_of(text):
    """[{index, name, up, down}] of `nvidia-smi nvlink --status`."""
    gpus = []
    for line in text.splitlines():
        match = re.match(r"GPU (\d+): (.*?)(?: \(UUID.*)?$", line)
        if match:
            gpus.append({"index": match.group(1), "name": match.group(2), "up": 0, "down": 0})
        elif gpus and re.match(r"\s*Link \d+:", line):
            gpus[-1]["down" if "inactive" in line else "up"] += 1
    return gpus
