"""Make a tiny model of random weights with its tokenizer, and a dataset for one PPO step. Nothing is downloaded.

python tiny.py model [train.parquet val.parquet]
"""

import os
import sys

WORDS = 512
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(folder):
    """A token for each byte: it reads anything, and needs no training."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    # A model of random weights says any token: each needs a text.
    made.add_tokens(["<|%d|>" % number for number in range(made.get_vocab_size(), WORDS)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=1024
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return fast


def model(folder, tokens):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=WORDS,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,  # of 64: what every attention kernel knows
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=tokens.pad_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def dataset(path, rows):
    """Sums, in the form of verl's own GSM8K: its reward function judges them by rule."""
    import pandas

    table = []
    for number in range(rows):
        question = "%d + %d = ? Write the answer after ####." % (number, number + 1)
        table.append(
            {
                "data_source": "openai/gsm8k",
                "prompt": [{"role": "user", "content": question}],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": str(2 * number + 1)},
                "extra_info": {"split": "train", "index": number},
            }
        )
    pandas.DataFrame(table).to_parquet(path)


if __name__ == "__main__":
    model(sys.argv[1], tokenizer(sys.argv[1]))
    for file in sys.argv[2:]:
        dataset(file, int(os.environ.get("VERL_VERIFY_ROWS", 32)))
