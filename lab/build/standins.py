"""What makes a shared base one particular image: package versions, environment, labels. All from the catalog."""

import re
from pathlib import Path

import yaml

from lab import settings
from lab.build import imagebase

NOTE = "Stand-in of the verl-provision lab: the real one needs a GPU and many gigabytes."

# catalog key: (name of the distribution, modules it brings)
PACKAGES = {
    "vllm": ("vllm", ["vllm"]),
    "sglang": ("sglang", ["sglang"]),
    "megatron_core": ("megatron-core", ["megatron/core"]),
    "transformer_engine": ("transformer-engine", ["transformer_engine"]),
    "flash_attn": ("flash-attn", ["flash_attn", "flash_attn_2_cuda"]),
    "flashinfer": ("flashinfer-python", ["flashinfer"]),
}


def described() -> list[dict]:
    """Read the catalog's entries of the images that the lab has."""
    wanted = yaml.safe_load((settings.FILES / "image/images.yaml").read_text())
    entries = {e["ref"]: e for e in yaml.safe_load((settings.CHECKOUT / "catalog/images.yml").read_text())["images"]}
    keys = (
        "ref",
        "torch",
        "cuda",
        "engines",
        "megatron_core",
        "transformer_engine",
        "flash_attn",
        "flashinfer",
        "verl_inside",
    )
    return [{key: entries[ref][key] for key in keys} for ref in wanted]


def _distribution(site: Path, name: str, version: str, modules: list[str]) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {NOTE}\n")
    (info / "INSTALLER").write_text("verl-provision-lab\n")
    for module in modules:
        package = site / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'"""{NOTE}"""\n\n__version__ = "{version}"\n')


def _torch(site: Path, base: Path, entry: dict) -> None:
    """Let torch say the version that the real image has; the code is that of the base."""
    cuda = entry["cuda"]["torch"]
    version = f"{entry['torch']}+cu{cuda.replace('.', '')}"
    info = site / f"torch-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = re.sub(r"^Version: .*$", f"Version: {version}", (base / "torch/METADATA").read_text(), flags=re.M)
    (info / "METADATA").write_text(metadata)
    text = (base / "torch/version.py").read_text()
    text = re.sub(r"^__version__ = .*$", f"__version__ = '{version}'", text, flags=re.M)
    text = re.sub(r"^cuda(:.*)? = .*$", rf"cuda\1 = '{cuda}'", text, flags=re.M)
    (site / "torch").mkdir()
    (site / "torch/version.py").write_text(text)


def lay(root: Path, entry: dict, base: Path, verl: Path) -> None:
    """Fill a folder with an image's own files and its Dockerfile."""
    site = root / "layer" / imagebase.SITE
    versions = {**entry, **entry["engines"]}
    for key, (name, modules) in PACKAGES.items():
        if versions.get(key):
            _distribution(site, name, versions[key], modules)
    _torch(site, base, entry)
    instructions = ["FROM base", "COPY layer /"]
    if entry["verl_inside"]:
        (root / "verl").symlink_to(verl)
        instructions.append(f"COPY verl /{imagebase.SITE}/")
    toolkit = entry["cuda"]["toolkit"]
    minor = ".".join(toolkit.split(".")[:2])
    instructions += [
        f'ENV CUDA_VERSION="{toolkit}" NVIDIA_REQUIRE_CUDA="cuda>={minor}" NVIDIA_VISIBLE_DEVICES="all" '
        'NVIDIA_DRIVER_CAPABILITIES="compute,utility" PIP_BREAK_SYSTEM_PACKAGES="1" PIP_ROOT_USER_ACTION="ignore"',
        f'LABEL {settings.LABEL}.stand-in="{NOTE}"',
        "WORKDIR /workspace",
        'CMD ["/bin/bash"]',
    ]
    (root / "Dockerfile").write_text("\n".join(instructions) + "\n")
