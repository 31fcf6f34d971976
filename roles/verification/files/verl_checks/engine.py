"""Level engine: the rollout engine answers once, with a tiny model of random weights made on the spot."""

import json

from verl_checks.core import Skip, Wrong, check
from verl_checks.work import Folder, free_gpu, on, share

TOKENS = 8
WORDS = 512  # of the tiny model


@check("engine.generate")
def generate(request, versions):
    """vLLM or SGLang, as planned, loads a tiny random model and generates a few tokens."""
    wanted = request["expected"].get("engine")
    if wanted not in ("vllm", "sglang"):
        raise Skip("no rollout engine is planned here: nothing can generate")
    gpu = free_gpu(request)
    folder = Folder()
    folder.python(request, "tiny.py", "model")
    visible = dict(on(gpu), HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    text = folder.python(request, "generate.py", wanted, "model", str(TOKENS), str(share(gpu)), **visible)
    needed = "%d tokens from %s" % (TOKENS, wanted)
    answers = [line for line in text.splitlines() if line.startswith("verl-verify-tokens: ")]
    told = json.loads(answers[-1].split(": ", 1)[1]) if answers else {"count": 0, "ids": []}
    if told["count"] != TOKENS or not all(0 <= token < WORDS for token in told["ids"]):
        raise Wrong("%d tokens: %s" % (told["count"], told["ids"]), needed, request["repair"])
    folder.remove()
    return "%d tokens from %s on GPU %s" % (told["count"], wanted, gpu["index"]), needed
