"""A site directory with packages that only look like torch, verl and company."""

TORCH = """
__version__ = {version!r}
class version:
    cuda = {cuda!r}
class backends:
    class cudnn:
        enabled = True
        @staticmethod
        def is_available():
            return {cudnn!r} is not None
        @staticmethod
        def version():
            return {cudnn!r}
"""


def put(site, module, version, code=None, distribution=None, installed=True):
    path = site / module.replace(".", "/")
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").write_text(code if code is not None else f"__version__ = {version!r}\n")
    if installed:
        name = (distribution or module).replace("-", "_")
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: {version}\n")


def put_torch(site, version="2.11.0+cu130", cuda="13.0", cudnn=91900):
    put(site, "torch", version.split("+")[0], TORCH.format(version=version, cuda=cuda, cudnn=cudnn))
    put(site, "torch.distributed", "0", "", installed=False)
    put(site, "torch.distributed.fsdp", "0", "", installed=False)


def put_all(site):
    put_torch(site)
    for name, version in (("numpy", "2.4.6"), ("ray", "2.60.0"), ("tensordict", "0.10.0"), ("transformers", "5.10.4")):
        put(site, name, version)
    # A library that talks, as many do when they are imported.
    put(site, "verl", "0.9.1", "print('hello'); __version__ = '0.9.1'\n")
    return site
