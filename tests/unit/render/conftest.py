"""Jobs as people describe them, rendered in this process."""

import pytest

from verl_provision import catalog as catalogs
from verl_provision import handmade, render
from verl_provision.render import files

CATALOG = catalogs.load()
NVIDIA = {"gpu": "H100", "driver": "580"}
AMD = {"gpu": "MI300X"}
PINNED = {"verl_image": "vllm024", "verl_version": "0.9.0"}  # what a later choice would be is another test's business
ASCEND = {"gpu": "910B"}


@pytest.fixture
def made():
    """`made(target, nodes=2, machine=NVIDIA, command=(), **site)`: the rendered lines of its files."""

    def make(target, nodes=2, machine=NVIDIA, command=(), wanted=None, **site):
        facts = handmade.facts(handmade.Machine(**machine), CATALOG)
        pinned = PINNED if machine == NVIDIA and site.get("runner") != "source" else {}
        asked = {"verl_nnodes": nodes, **pinned, **(wanted or {})}
        return render.render(render.job(target, facts, asked, site, command, CATALOG), "the command")

    return make


@pytest.fixture
def text(made):
    """The manifest itself."""

    def make(*args, **more):
        return files.text(next(iter(made(*args, **more).values())))

    return make
