"""Make a small random-weight Llama folder for tests: `python make_model.py FOLDER`.

Run it with the Python of the environment that install.sh makes. The folder holds a config, a
tokenizer and a chat template, but no weights: vLLM is started with `--load-format dummy`, which
draws them. Same script and pins, same bytes.
"""

import os
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

VOCABULARY = 2048
POSITIONS = 4096
BEGIN, END, PAD = "<s>", "</s>", "<pad>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

OPENINGS = ("", "br", *"bcdfghklmnprstvw", "fl", "pr", "qu", "tr")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
CLOSINGS = ("", "ck", "d", "l", "m", "n", "nd", "r", "s", "st", "t", "th")
SUBJECTS = ("The scheduler", "A small server", "Every client", "One late request", "The load generator")
ACTIONS = ("measures", "queues", "remembers", "preempts", "compares")
OBJECTS = ("a batch of tokens", "the saturation curve", "its own latency", "a price per hour", "the next arrival")
ENDINGS = ("before the window closes.", "at 17 requests per second!", "in 0.25 seconds, or never?", "until morning.")


def invented_words() -> list[str]:
    """Return made-up words of two syllables: enough different ones to fill the vocabulary."""
    syllables = ["".join(parts) for parts in product(OPENINGS, VOWELS, CLOSINGS)]
    return [first + second for first, second in zip(syllables, syllables[7:] + syllables[:7], strict=True)]


def sentences() -> list[str]:
    """Return the training text, in a fixed order: plain sentences, each with some invented words after its subject."""
    words = invented_words()
    plain = list(product(SUBJECTS, ACTIONS, OBJECTS, ENDINGS))
    text = []
    for number, (subject, *rest) in enumerate(plain):
        extra = [words[(number * 5 + place) % len(words)] for place in range(5)]
        text.append(" ".join([subject, *extra, *rest]))
    return text


def trained_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on our own text and wrap it so that AutoTokenizer loads it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END, PAD, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=POSITIONS
    )
    if len(wrapped) != VOCABULARY:
        raise ValueError(f"the training text yields {len(wrapped)} tokens, not {VOCABULARY}: give it more words")
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def model_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the shape of the model.

    Small enough for one CPU core, and large enough that a step takes longer than what the HTTP server does about it:
    with a smaller model the server saturates in HTTP, and its own histograms, which begin when a request has been
    taken in, miss the time that requests wait before that.
    """
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )


def write_model(folder: Path) -> None:
    """Write the whole folder beside its place and then move it there, so that no half of one is ever seen."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        tokenizer = trained_tokenizer()
        config = model_config(tokenizer)
        config.save_pretrained(scratch)
        GenerationConfig.from_model_config(config).save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        scratch.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_model.py FOLDER")
    write_model(Path(sys.argv[1]))
