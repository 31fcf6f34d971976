"""Generate a few tokens with a rollout engine.

python generate.py vllm|sglang MODEL TOKENS SHARE-OF-GPU-MEMORY
"""

import json
import sys


def vllm(model, tokens, share):
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=model, dtype="bfloat16", gpu_memory_utilization=share, max_model_len=256, enforce_eager=True, seed=1
    )
    asked = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
    ids = [int(token) for token in engine.generate(["1 + 1 ="], asked)[0].outputs[0].token_ids]
    return {"count": len(ids), "ids": ids}


def sglang(model, tokens, share):
    import sglang as package

    engine = package.Engine(
        model_path=model, dtype="bfloat16", mem_fraction_static=share, context_length=256, disable_cuda_graph=True
    )
    try:
        answer = engine.generate("1 + 1 =", {"max_new_tokens": tokens, "temperature": 0.0, "ignore_eos": True})
    finally:
        engine.shutdown()
    # Older versions count the tokens, and give the text only.
    return {"count": int(answer["meta_info"]["completion_tokens"]), "ids": list(answer.get("output_ids") or [])}


if __name__ == "__main__":
    dummy, name, folder, number, part = sys.argv
    told = {"vllm": vllm, "sglang": sglang}[name](folder, int(number), float(part))
    print("verl-verify-tokens: " + json.dumps(told), flush=True)
