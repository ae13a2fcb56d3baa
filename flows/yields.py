# SPDX-License-Identifier: Apache-2.0
"""What one section, row, dialogue or clip takes, and how many come out: built in, probed, or learned from a run.

The built-in figures were seen with the embedded writer (Qwen2.5-Coder-1.5B, two cores, four slots) on recipes/tiny.yaml
and recipes/dialogues.yaml; another model differs by a factor of two, which is what a probe is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.dialogues import STAGE as DIALOGUES
from flows.evidence import STAGE as EVIDENCE
from flows.evidence import chosen_sections
from flows.meter import Cost
from flows.runs import Inputs
from flows.speech import STAGE as SPEECH
from flows.spending import Outcome, Spending
from flows.utterances import STAGE as UTTERANCES
from generators.prompts import PromptName, load_prompt
from validators.text import words

TOKENS_PER_WORD = 1.35  # English prose in the tokenisers of Qwen, Llama and Mistral
REPLY_TOKENS: dict[str, int] = {  # seen with the embedded writer
    "characters": 45,
    "evidence": 105,
    "utterance": 25,
    "context": 55,
    "ambiguous": 22,
    "read": 1,
    "dialogue_seed": 190,
    "dialogue_turn": 45,
    "dialogue_judge": 1,
}
DRAWS_PER_ROW = 3.2  # lines drawn for each row that is kept: gates reject one in six, the reader one in two
ROWS_PER_KEPT = (
    2.0  # rows written for each in which the reader hears the intention; half of the draws are of the others
)
LINES_KEPT = 0.7  # share of rows that are to have a context and come to it
REWRITES = 2.0  # of a line until it is less certain alone than in its situation
READING_TOKENS = 60  # read by a Chat reader for a line beyond the prompt that all lines share
TURN_DRAWS = 2.2  # of a turn of a dialogue; a small writer is not heard in two of three
DIALOGUES_KEPT = 0.35  # of those written; a dialogue falls when too few of its turns are heard
CPU_WRITE_TOKENS_PER_S = 14.0  # embedded writer, two cores, four slots; a newer processor doubles both
CPU_READ_TOKENS_PER_S = 72.0
GPU_WRITE_TOKENS_PER_S = 3000.0  # a 7B model on one H100 with vLLM; published figures lie between 3,000 and 8,000
GPU_READ_TOKENS_PER_S = 40_000.0
CLIP_S = 10.0  # Kokoro, Whisper and the rest for up to three takes, on one core
CLIPS_KEPT = 0.9
CLIP_BYTES = 75_000  # FLAC of four seconds, 24 kHz, 16 bit

STAGE_OF: Mapping[str, str] = {
    "characters": EVIDENCE,
    "evidence": EVIDENCE,
    "utterance": UTTERANCES,
    "neutral": UTTERANCES,
    "context": UTTERANCES,
    "clean_context": UTTERANCES,
    "ambiguous": UTTERANCES,
    "read": UTTERANCES,
    "dialogue_seed": DIALOGUES,
    "dialogue_turn": DIALOGUES,
    "dialogue_judge": DIALOGUES,
}
"""Which stage asks with which prompt. Readings of turns by a Chat reader count with those of lines."""


@dataclass(frozen=True, slots=True)
class UnitYield:
    """What one section, row, dialogue or clip takes on average, and what comes of it.

    `seconds` are of the clock, at the recipe's slots; `kept` is the share that counts towards what is wanted, by label
    where that is known, `stays` the share that is in the release, `size` its bytes of sound.
    """

    calls: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    seconds: float = 0.0
    kept: float = 1.0
    stays: float = 1.0
    size: float = 0.0
    kept_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Yields:
    """The yields of all stages, and where the figures come from."""

    source: str
    of: Mapping[str, UnitYield]


def sections_asked(inputs: Inputs) -> int:
    """How many sections the writer is asked about; none where the feelings come with the stories."""
    return sum(map(len, chosen_sections(inputs).values())) if inputs.recipe.stories.evidence != "given" else 0


def builtin_yields(inputs: Inputs) -> Yields:
    """Reckon from the texts of a recipe, without asking anything; within a factor of two."""
    recipe = inputs.recipe
    is_read = recipe.reader.backend != "none"
    share = min(1.0, contextual_rows(inputs) / recipe.utterances.rows)
    rewrites = REWRITES if is_read else 1.0
    row: dict[PromptName, float] = {
        "utterance": DRAWS_PER_ROW / ROWS_PER_KEPT if is_read else 1.2,
        "context": share * LINES_KEPT,
        "ambiguous": share * LINES_KEPT * rewrites,
    }
    if any(one.backend == "chat" for one in (recipe.reader, *(recipe.reader.members or ()))):
        row["read"] = row["utterance"] + share * LINES_KEPT * (1 + 2 * rewrites)
    asked = sections_asked(inputs)
    kept = 1 / ROWS_PER_KEPT if is_read else 0.9
    stays = kept if recipe.loop.keep_misses_above is None else (1 + kept) / 2
    of = {
        EVIDENCE: _reckoned(inputs, {"characters": len(inputs.stories) / max(1, asked), "evidence": 1.0}),
        UTTERANCES: _reckoned(inputs, row, kept=kept, stays=stays),
    }
    if role := recipe.dialogues:
        turns = sum(length * weight for length, weight in role.turns.items()) / sum(role.turns.values())
        draws = min(TURN_DRAWS, role.candidates) if is_read else 1.2
        judged = 0.0 if role.judge_writer is None else 3.0
        talk: dict[PromptName, float] = {"dialogue_seed": 1.2, "dialogue_turn": turns * draws, "dialogue_judge": judged}
        of[DIALOGUES] = _reckoned(inputs, talk, kept=DIALOGUES_KEPT, stays=DIALOGUES_KEPT)
    if role_of_speech := recipe.speech:
        seconds = CLIP_S / role_of_speech.workers
        of[SPEECH] = UnitYield(seconds=seconds, kept=CLIPS_KEPT, stays=CLIPS_KEPT, size=CLIP_BYTES)
    return Yields("built-in figures of the embedded writer; no request was made", of)


def learned_yields(inputs: Inputs, spending: Spending, *, slots: int) -> Yields | None:
    """Learn from an earlier run of the same recipe; None where there is none, or it had other slots."""
    took = spending.stages.get(UTTERANCES)
    if UTTERANCES not in spending.outcomes or took is None or took.slots != slots:
        return None
    of = dict(builtin_yields(inputs).of)
    units = {EVIDENCE: sections_asked(inputs)} | {
        stage: outcome.written for stage, outcome in spending.outcomes.items() if stage in of
    }
    for stage, count in units.items():
        if not count:
            continue
        cost = sum((one for kind, one in spending.costs.items() if STAGE_OF.get(kind) == stage), Cost())
        outcome = spending.outcomes.get(stage, Outcome(count, count))
        of[stage] = UnitYield(
            calls=(cost.calls - cost.failed) / count,
            prompt_tokens=cost.prompt_tokens / count,
            completion_tokens=cost.completion_tokens / count,
            seconds=spending.stages[stage].wall_s / count if stage in spending.stages else 0.0,
            kept=_accepted(outcome) / count,
            stays=outcome.kept / count,
            size=of[stage].size,
            kept_of={label: outcome.accepted_of.get(label, 0) / n for label, n in outcome.written_of.items() if n},
        )
    return Yields(f"an earlier run of this recipe, {spending.outcomes[UTTERANCES].written} rows written", of)


def contextual_rows(inputs: Inputs) -> int:
    """How many rows are to have a context."""
    rows = inputs.recipe.utterances.contextual_rows
    return inputs.recipe.utterances.rows if rows is None else rows


def _accepted(outcome: Outcome) -> int:
    return sum(outcome.accepted_of.values()) if outcome.accepted_of else outcome.kept


def _reckoned(inputs: Inputs, calls: Mapping[PromptName, float], *, kept: float = 1.0, stays: float = 1.0) -> UnitYield:
    """Turn calls by prompt into tokens and seconds, by the length of prompts and sections."""
    section_tokens = _section_tokens(inputs)
    prompt = beyond = written = 0.0
    for name, count in calls.items():
        question = load_prompt(name)
        values = READING_TOKENS if name == "read" else 0 if name == "ambiguous" else section_tokens
        fixed = TOKENS_PER_WORD * len(words(question.template.template))
        prompt += count * (fixed + values + TOKENS_PER_WORD * len(words(question.text)))
        beyond += count * (fixed + values)  # the constant part is served from the engine's prefix cache
        written += count * REPLY_TOKENS[name]
    read_rate, write_rate = (
        (GPU_READ_TOKENS_PER_S, GPU_WRITE_TOKENS_PER_S)
        if inputs.recipe.writer.backend in {"vllm", "openai"}
        else (CPU_READ_TOKENS_PER_S, CPU_WRITE_TOKENS_PER_S)
    )
    return UnitYield(
        calls=sum(calls.values()),
        prompt_tokens=prompt,
        completion_tokens=written,
        seconds=beyond / read_rate + written / write_rate,
        kept=kept,
        stays=stays,
    )


SAMPLED = 400  # sections measured for their mean length; a thousandth of it would do for stories of one kind


def _section_tokens(inputs: Inputs) -> float:
    texts = {story.story_id: story.sections for story in inputs.stories}
    places = [(story, index) for story, indexes in chosen_sections(inputs).items() for index in indexes]
    sampled = places[:: max(1, len(places) // SAMPLED)]
    return TOKENS_PER_WORD * sum(len(words(texts[story][index])) for story, index in sampled) / max(1, len(sampled))
