"""A torch whose CUDA is told what to say, and an nvidia-smi that is asked by field."""

from .fake_packages import TORCH, put

CUDA = """
class _Tensor:
    def __init__(self, wrong=0): self.wrong = wrong
    def float(self): return self
    def cpu(self): return self
    def sum(self): return self.wrong
    def to(self, where, kind):
        index = int(where.split(":")[1])
        if index in {full!r}: raise RuntimeError("CUDA out of memory. Tried to allocate")
        if index in {broken!r}: raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return _Tensor(3 if index in {liars!r} else 0)
    def __matmul__(self, other): return self
    def __ne__(self, other): return self
    __hash__ = None
    def numel(self): return 1048576
def manual_seed(seed): pass
def randint(low, high, shape): return _Tensor()
bfloat16, float16 = "torch.bfloat16", "torch.float16"
class cuda:
    @staticmethod
    def init():
        if {error!r}: raise RuntimeError({error!r})
    @staticmethod
    def device_count(): return {count!r}
    @staticmethod
    def get_arch_list(): return {arch_list!r}
    @staticmethod
    def get_device_capability(index=0): return {capability!r}
    @staticmethod
    def get_device_name(index=0): return "NVIDIA H100 80GB HBM3"
"""
PLAIN = {
    "count": 2,
    "arch_list": ["sm_80", "sm_90", "compute_90"],
    "capability": (9, 0),
    "error": "",
    "liars": (),
    "broken": (),
    "full": (),
}


def put_cuda(site, **said):
    code = TORCH.format(version="2.11.0+cu130", cuda="13.0", cudnn=91900) + CUDA.format(**{**PLAIN, **said})
    put(site, "torch", "2.11.0", code)


FIELDS = {
    "ecc.errors.uncorrected.volatile.total": "0",
    "remapped_rows.pending": "0",
    "remapped_rows.failure": "0",
    "gpu_recovery_action": "None",
    "clocks_event_reasons.hw_slowdown": "Not Active",
    "clocks_event_reasons.hw_thermal_slowdown": "Not Active",
    "clocks_event_reasons.sw_thermal_slowdown": "Not Active",
    "fabric.state": "Completed",
    "fabric.status": "Success",
}
SMI = """#!{python}
import sys
fields, links, memory = {fields!r}, {links!r}, {memory!r}
first = sys.argv[1]
if first == "-L":
    for n in range(2): print("GPU %d: NVIDIA H100 80GB HBM3 (UUID: GPU-%d)" % (n, n))
elif first == "--help-query-gpu":
    for name in fields: print('"%s"\\nWhat it says.\\n' % name)
elif first == "nvlink":
    for n in range(2):
        print("GPU %d: NVIDIA H100 80GB HBM3 (UUID: GPU-%d)" % (n, n))
        for link, up in enumerate(links[n]): print("\\t Link %d: %s" % (link, "26.562 GB/s" if up else "<inactive>"))
else:
    for n in range(2):
        row = []
        for name in first.split("=")[1].split(","):
            own = {{"index": str(n), "driver_version": "580.95.05", "memory.free": memory, "memory.total": "81559"}}
            value = own.get(name, fields.get(name))
            row.append(value[n] if isinstance(value, tuple) else value)
        print(", ".join(row))
"""


def smi(place, python, links=((1, 1), (1, 1)), memory="80000", without=(), **values):
    fields = {**FIELDS, **{name.replace("__", "."): value for name, value in values.items()}}
    fields = {name: value for name, value in fields.items() if name not in without}
    path = place.bin / "nvidia-smi"
    path.write_text(SMI.format(python=python, fields=fields, links=links, memory=memory))
    path.chmod(0o755)
