"""Make a small torch wheel from PyPI's: slim_torch.py TORCH_WHEEL LIBCUDART OUTPUT_DIR.

It's the real torch with all of its CPU code. Left out is what only a GPU would use: the GPU machine code
(zeroed, so that it packs to nothing), the header files, and the gigabytes of CUDA libraries, whose place is
taken by libraries with the same names and symbols whose functions only answer "not supported". The result
carries the version "+cpu", as the wheels of PyTorch's own CPU index do.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

REAL = "libcudart.so.13"  # small, and asked by torch.cuda.is_available(): taken from NVIDIA's wheel
OF_THE_DRIVER = "libcuda.so.1"  # a host's, never a wheel's
PREFIXES = [  # which library has a symbol whose version doesn't name it, most special first
    ("cublasLt", "libcublasLt.so.13"),
    ("cublas", "libcublas.so.13"),
    ("cudnn", "libcudnn.so.9"),
    ("cufft", "libcufft.so.12"),
    ("curand", "libcurand.so.10"),
    ("cusparseLt", "libcusparseLt.so.0"),
    ("cusparse", "libcusparse.so.12"),
    ("cusolver", "libcusolver.so.12"),
    ("cupti", "libcupti.so.13"),
    ("cuFile", "libcufile.so.0"),
    ("nccl", "libnccl.so.2"),
    ("nvshmem", "libnvshmem_host.so.3"),
]


def run(*command: str | Path) -> str:
    """Run a program and give back what it prints."""
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def zero_gpu_code(library: Path) -> None:
    """Overwrite the sections that hold GPU machine code."""
    for line in run("readelf", "-SW", library).splitlines():
        section = re.match(r"\s*\[\s*\d+\]\s+(\.nv_fatbin|__nv_relfatbin)\s+\S+\s+\S+\s+(\w+)\s+(\w+)", line)
        if section:
            with library.open("r+b") as file:
                file.seek(int(section[2], 16))
                file.write(bytes(int(section[3], 16)))


def missing_symbols(libraries: list[Path]) -> dict[str, dict[str, str]]:
    """Find the symbols that the CUDA libraries must have: {library: {symbol: version or ""}}."""
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for library in libraries:
        for line in run("nm", "-D", "--undefined-only", library).splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            home = version if version.startswith("lib") else ""
            home = home or next((lib for prefix, lib in PREFIXES if symbol.startswith(prefix)), "")
            if home and (version or symbol not in wanted[home]):
                wanted[home][symbol] = version
    return wanted


def cudnn_answers(metadata: str) -> dict[str, str]:
    """Write the functions by which cuDNN says its version: the one that torch asks for, 9.19.0 or 91900."""
    major, minor, patch = map(int, re.search(r"nvidia-cudnn-cu\d+==(\d+)\.(\d+)\.(\d+)", metadata).groups())
    return {
        "cudnnGetVersion": f"unsigned long cudnnGetVersion(void) {{ return {major * 10000 + minor * 100 + patch}; }}\n",
        "cudnnGetProperty": f"static const int v[] = {{{major}, {minor}, {patch}}};\n"
        "int cudnnGetProperty(int which, int *value) { *value = v[which]; return 0; }\n",
    }


def write_stub(path: Path, symbols: dict[str, str], answers: dict[str, str]) -> None:
    """Compile a library that has the given symbols; a function answers 801, cudaErrorNotSupported, if not told else."""
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stub.c"), Path(folder, "stub.map")
        lines = [answers.get(name, f"int {name}(void) {{ return 801; }}\n") for name in sorted(symbols)]
        source.write_text("".join(lines) or "int unused;\n")
        versions = sorted({v for v in symbols.values() if v})
        script.write_text(
            "".join(f"{v} {{ {''.join(f'{s}; ' for s, at in symbols.items() if at == v)} }};\n" for v in versions)
        )
        options = [f"-Wl,--version-script={script}"] if versions else []
        run("gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{path.name}", *options, "-o", path, source)


def main(wheel: Path, cudart: Path, output: Path) -> None:
    """Unpack, slim and pack again."""
    with tempfile.TemporaryDirectory(dir=output) as folder:
        root = Path(folder)
        shutil.unpack_archive(wheel, root, "zip")
        lib = root / "torch/lib"
        libraries = sorted(lib.glob("*.so*"))
        for library in libraries:
            zero_gpu_code(library)
        for waste in ("torch/include", "torch/share", "torch/test"):
            shutil.rmtree(root / waste, ignore_errors=True)
        for program in (root / "torch/bin").glob("protoc*"):
            program.unlink()
        cuda = re.compile(r"NEEDED.*\[(lib(?:cu|nccl|nvshmem_host)\w*\.so\.\d+)\]")
        needed = {name for library in libraries for name in cuda.findall(run("readelf", "-d", library))}
        symbols = missing_symbols(libraries)
        info = next(root.glob("torch-*.dist-info"))
        metadata = (info / "METADATA").read_text()
        for name in sorted(needed - {REAL, OF_THE_DRIVER} - {library.name for library in libraries}):
            write_stub(lib / name, symbols.get(name, {}), cudnn_answers(metadata))
        shutil.copy(cudart, lib / REAL)

        version = info.name.removeprefix("torch-").removesuffix(".dist-info").split("+")[0]
        text = (root / "torch/version.py").read_text()
        text = re.sub(r"^__version__ = .*$", f"__version__ = '{version}+cpu'", text, flags=re.M)
        text = re.sub(r"^cuda(:.*)? = .*$", r"cuda\1 = None", text, flags=re.M)
        (root / "torch/version.py").write_text(text)
        metadata = re.sub(r"^Version: .*$", f"Version: {version}+cpu", metadata, flags=re.M)
        metadata = re.sub(r"^Requires-Dist: (nvidia|cuda|triton).*\n", "", metadata, flags=re.M)
        (info / "METADATA").write_text(metadata)
        info.rename(root / f"torch-{version}+cpu.dist-info")
        run(sys.executable, "-m", "wheel", "pack", "--dest-dir", output, root)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
