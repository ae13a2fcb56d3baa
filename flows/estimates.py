# SPDX-License-Identifier: Apache-2.0
"""What a recipe would cost, reckoned from its own texts before anything is spent."""

from flows.evidence import chosen_sections
from flows.runs import Inputs
from generators.prompts import PromptName, load_prompt
from validators.text import words

TOKENS_PER_WORD = 1.35  # English prose in the tokenisers of Qwen, Llama and Mistral
REPLY_TOKENS: dict[PromptName, int] = {  # seen with the embedded writer
    "characters": 45,
    "evidence": 105,
    "utterance": 25,
    "context": 55,
    "ambiguous": 22,
}
DRAWS_PER_ROW = 3.2  # lines drawn for each row that is kept: gates reject one in six, the reader one in two
READING_TOKENS = 60  # read by a Chat reader for a line beyond the prompt that all lines share
LINES_KEPT = 0.7  # share of rows that are to have a context and come to it
ROW_BYTES = 900  # of a kept row as Parquet with its share of rejected rows and replies
CPU_WRITE_TOKENS_PER_S = 14.0  # embedded writer, two cores, four slots; a newer processor doubles both
CPU_READ_TOKENS_PER_S = 72.0
GPU_WRITE_TOKENS_PER_S = 3000.0  # a 7B model on one H100 with vLLM; published figures lie between 3,000 and 8,000
GPU_READ_TOKENS_PER_S = 40_000.0


def estimate(inputs: Inputs) -> dict[str, float]:
    """Reckon calls, tokens, seconds and bytes; within a factor of two, since yields differ by model and stories."""
    recipe = inputs.recipe
    sections = [(story, index) for story, indexes in chosen_sections(inputs).items() for index in indexes]
    texts = {story.story_id: story for story in inputs.stories}
    section_tokens = (
        TOKENS_PER_WORD
        * sum(len(words(texts[story_id].sections[index])) for story_id, index in sections)
        / max(1, len(sections))
    )
    rows = recipe.utterances.rows
    contextual = rows if recipe.utterances.contextual_rows is None else recipe.utterances.contextual_rows
    asks_model = recipe.stories.evidence != "given"
    calls: dict[PromptName, float] = {
        "characters": len(inputs.stories) if asks_model else 0,
        "evidence": len(sections) if asks_model else 0,
        "utterance": rows * (DRAWS_PER_ROW if recipe.reader.backend != "none" else 1.2),
        "context": contextual * LINES_KEPT,
        "ambiguous": contextual * LINES_KEPT,
    }
    read = write = 0.0
    for name, count in calls.items():
        fixed = TOKENS_PER_WORD * len(words(load_prompt(name).template.template))
        read += count * (fixed + (0 if name == "ambiguous" else section_tokens))
        write += count * REPLY_TOKENS[name]
    if any(one.backend == "chat" for one in (recipe.reader, *(recipe.reader.members or ()))):
        calls["read"] = rows * DRAWS_PER_ROW + 4 * contextual
        read += calls["read"] * READING_TOKENS
        write += calls["read"]
    on_gpu = recipe.writer.backend in {"vllm", "openai"}
    read_rate, write_rate = (
        (GPU_READ_TOKENS_PER_S, GPU_WRITE_TOKENS_PER_S) if on_gpu else (CPU_READ_TOKENS_PER_S, CPU_WRITE_TOKENS_PER_S)
    )
    return {
        "stories": len(inputs.stories),
        "sections_asked": len(sections) if asks_model else 0,
        "rows_wanted": rows,
        "model_calls": round(sum(calls.values())),
        "prompt_tokens_beyond_the_cached_prefix": round(read),
        "tokens_written": round(write),
        "minutes": round(60 * (read / read_rate + write / write_rate) / 3600, 1),
        "megabytes_on_disk": round(rows * ROW_BYTES / 1e6, 1),
    }
