"""Write weak C stubs for the NVML functions that nvml_mock.c leaves out: make_stubs.py HEADER [NVIDIA_SMI ...].

The names come from NVIDIA's own header and from the programs that will load the library.
"""

import re
import sys
from pathlib import Path

names = set()
for path in map(Path, sys.argv[1:]):
    names |= set(re.findall(rb"\bnvml[A-Z]\w+(?=\(|\0)", path.read_bytes()))
print("#define NOT_SUPPORTED 3")
for name in sorted(n.decode() for n in names if not n.endswith(b"_t")):
    print(f"__attribute__((weak)) int {name}(void) {{ return NOT_SUPPORTED; }}")
