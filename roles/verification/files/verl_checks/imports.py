"""Level import: the packages, in the versions that were planned, and their compiled parts."""

import os
import sys

from verl_checks.core import Skip, Wrong, bring_in, check, library, meets, packaged

SEED_CUDNN_LINE = 'python -c "import torch; print(torch.backends.cudnn.enabled)"'


@check("import.python")
def python(request, versions):
    """The Python is one that the release takes."""
    versions["python"] = ".".join(str(part) for part in sys.version_info[:3])
    wanted = request["expected"].get("python")
    if wanted and not meets(versions["python"], wanted):
        raise Wrong("Python %s" % versions["python"], "Python %s" % wanted, request["repair"])
    return "Python %s at %s" % (versions["python"], sys.executable), wanted


@check("import.torch")
def torch(request, versions):
    """torch is the planned one, and built for CUDA where there are GPUs."""
    expected = request["expected"]
    needed = "torch %s" % (expected.get("torch") or "importable")
    if expected.get("torch_cuda"):
        needed += ", built for CUDA %s" % expected["torch_cuda"]
    elif expected.get("profile") == "gpu":
        needed += ", built for CUDA"
    loaded = bring_in("torch", request, needed)
    cuda = loaded.version.cuda
    versions["torch"], versions["torch_cuda"] = loaded.__version__, cuda
    found = "torch %s (%s)" % (loaded.__version__, "CUDA %s build" % cuda if cuda else "CPU build")
    if expected.get("torch") and not meets(loaded.__version__, expected["torch"]):
        raise Wrong(found, needed, request["repair"])
    if expected.get("profile") == "gpu" and not cuda:
        raise Wrong(found, needed, request["repair"])
    if expected.get("torch_cuda") and (not cuda or not cuda.startswith(expected["torch_cuda"])):
        raise Wrong(found, needed, request["repair"])
    return found, needed


@check("import.cudnn")
def cudnn(request, versions):
    """torch has a cuDNN that answers with a version."""
    loaded = bring_in("torch", request, None)
    backend = loaded.backends.cudnn
    # The familiar line prints True on any build, also without cuDNN: it's shown, but proves nothing.
    familiar = "%s -> %s" % (SEED_CUDNN_LINE, backend.enabled)
    needed = "torch.backends.cudnn.is_available() and a version"
    if not backend.is_available():
        if request["expected"].get("profile") != "gpu":
            raise Skip("this torch build has no cuDNN, and profile cpu needs none (%s)" % familiar)
        raise Wrong("is_available() is False (%s)" % familiar, needed, request["repair"])
    version = backend.version()
    versions["cudnn"] = version
    if not version:
        raise Wrong("is_available() is True but version() is %s (%s)" % (version, familiar), needed, request["repair"])
    return "cuDNN %s, is_available() is True (%s)" % (version, familiar), needed


@check("import.numpy")
def numpy(request, versions):
    """numpy is in the range of the release."""
    return library("numpy", ["numpy"], request["expected"].get("numpy"), request, versions)


@check("import.ray")
def ray(request, versions):
    """Ray can be imported."""
    return library("ray", ["ray"], request["expected"].get("ray"), request, versions)


@check("import.tensordict")
def tensordict(request, versions):
    """tensordict is what verl asks for when it runs, which may be more than its metadata says."""
    return library("tensordict", ["tensordict"], request["expected"].get("tensordict"), request, versions)


@check("import.transformers")
def transformers(request, versions):
    """transformers is in the range of the release."""
    return library("transformers", ["transformers"], request["expected"].get("transformers"), request, versions)


@check("import.transfer_queue")
def transfer_queue(request, versions):
    """transfer_queue is there where the release imports it."""
    wanted = request["expected"].get("transfer_queue")
    if not wanted:
        present = packaged("TransferQueue")
        raise Skip("nothing planned here needs it (%s)" % ("there: %s" % present if present else "not installed"))
    specifier = wanted if isinstance(wanted, str) else None
    return library("transfer_queue", ["TransferQueue"], specifier, request, versions)


@check("import.engine")
def engine(request, versions):
    """The planned rollout engine can be imported, in the planned version."""
    wanted = request["expected"].get("engine")
    if wanted not in ("vllm", "sglang"):
        raise Skip("no rollout engine is planned here")
    return library(wanted, [wanted], request["expected"].get("engine_version"), request, versions)


@check("import.flash_attn")
def flash_attn(request, versions):
    """flash-attn's compiled part loads: it was built for this torch."""
    wanted = request["expected"].get("flash_attn")
    if not wanted:
        raise Skip("nothing planned here needs flash-attn")
    found = library("flash_attn", ["flash_attn"], wanted if isinstance(wanted, str) else None, request, versions)
    bring_in("flash_attn_2_cuda", request, "flash-attn's compiled part, built for this torch")
    return found


@check("import.trainer")
def trainer(request, versions):
    """The planned trainer's libraries can be imported."""
    wanted = request["expected"].get("trainer")
    if wanted == "fsdp":
        bring_in("torch.distributed.fsdp", request, "torch.distributed.fsdp importable")
        return "torch.distributed.fsdp of torch %s" % packaged("torch"), "torch.distributed.fsdp importable"
    if wanted == "megatron":
        return library("megatron.core", ["megatron-core"], request["expected"].get("megatron_core"), request, versions)
    raise Skip("no trainer is planned here")


@check("import.verl")
def verl(request, versions):
    """verl is the planned release, by package metadata where there is any."""
    wanted = request["expected"].get("verl_version")
    needed = "verl %s" % wanted if wanted else "verl importable"
    loaded = bring_in("verl", request, needed)
    stated = str(getattr(loaded, "__version__", ""))
    recorded = packaged("verl")
    versions["verl"], versions["verl.__version__"] = recorded or stated, stated
    found = "verl.__version__ is %s" % (stated or "empty")
    found += ", package metadata says %s" % recorded if recorded else ", not pip-installed"
    found += ", from %s" % os.path.dirname(getattr(loaded, "__file__", None) or "a namespace package")
    # Metadata counts where there is any: at some tags the version file says .dev of the very release.
    counts = recorded or (stated[: -len(".dev")] if stated.endswith(".dev") else stated)
    if wanted and (not counts or not meets(counts, wanted)):
        raise Wrong(found, needed, request["repair"])
    # An editable install whose checkout went on to another tag: the metadata is still that of the day of pip.
    if recorded and stated and not meets(stated, recorded):
        raise Wrong(found, needed + ", code and metadata alike", request["repair"])
    if not counts:
        raise Wrong(found, needed, request["repair"])
    return found, needed
