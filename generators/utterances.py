# SPDX-License-Identifier: Apache-2.0
"""How one utterance is written: a line, the situation before it, the situation cleaned, the line made ambiguous.

This is Emo Pillars' chain (Shvets 2025, section 3) with its known weaknesses mended: the emotion is asked of a section
that gives cause for it, each text is read blind and written again where the emotion is not heard, and whatever fails is
kept with its reason.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from generators.checks import line_check, rewriting_check
from generators.conversations import Conversation, read_blind
from generators.draws import Drawn, Question, draw, missed
from generators.parsing import Reply, clean_line, end_sentence, string, structure, whole_sentences, without_own_address
from generators.prompts import fence, load_prompt
from generators.scenes import Readings, Scene, Written
from generators.ways import in_own_words, ways_to_show
from validators.gates import copies_nothing, names_no_label, naming_words
from validators.readings import RealisedRule
from validators.records import RejectedRow
from validators.roles import Passage
from validators.verdicts import ACCEPTED, Verdict

MANNERS = {
    "informing": "inform someone of a fact",
    "asking": "ask a practical question",
    "polite": "make a polite request or a greeting",
    "flat": "make a plain remark about what is at hand",
}
"""What the prompt says of each manner in which a neutral line is said."""

INTENSITIES = {1: "mild: only a little", 2: "strong: it overwhelms you"}

CONNECTIVES = frozenset(
    {"about", "after", "as", "at", "because", "before", "by", "during", "for", "from", "in", "of", "on", "once"}
    | {"over", "since", "that", "to", "toward", "towards", "upon", "when", "while", "with", "without"}
)
"""Words with which a given cause joins a sentence by itself."""

CAUSE_CHARS = 120  # a clause
LINE_CHARS = 220  # 45 words at most; longer ones ramble
SITUATION_CHARS = 220  # a sentence or two; what comes after is mostly said twice
BANNED = 4  # words that the prompt forbids by name; the gate knows them all, and a longer list costs more than it saves
ATTEMPTS = 2  # at a situation: what came before is paid for, so one more try is worth it
REWRITINGS = 4  # a line is ambiguous at the first in one case of three; all that a lost one cost is paid for by then

ADVICE = {
    "not_first_person": "But that is told by somebody else. Say it yourself, as I, to whoever is there.",
    "names_its_speaker": "But that is your own name: you speak as I. Say it to somebody else.",
    "copies_section": "But those words stand in the scene. Say it in your own.",
    "too_long": "But that is too long. Say it in one short sentence.",
    "prompt_residue": "But that was an example. Say something of your own.",
}
"""What the writer is told after a rule failed its line: without, a small model fails by the same rule again."""


class LineReply(Reply):
    """What the writer answers: why the line is said where the evidence does not tell, then the line."""

    cause: str = ""
    line: str


class SituationReply(Reply):
    """What the writer answers when asked for the situation."""

    situation: str


class RewrittenReply(Reply):
    """What the writer answers when asked to rewrite a line."""

    line: str


def write_utterance(scene: Scene) -> Conversation[Written | RejectedRow]:
    """Write one row, or say at which stage and by which gate it fell.

    A line whose situation or rewriting fails is kept without them: it was paid for, and is as good as any other.
    """
    drawn = yield from write_line(scene)
    if isinstance(drawn, RejectedRow):
        return drawn
    if not _worth_keeping(scene, drawn):
        return missed(scene.plan, "line", drawn)
    cause = scene.plan.intended.cause or clean_line(drawn.answer.cause)
    line = Written(drawn.text, cause, None, None, drawn.attempt, _read(drawn))
    return (yield from _with_context(scene, line)) if scene.plan.contextual else line


def _with_context(scene: Scene, line: Written) -> Conversation[Written]:
    """Write the situation and the rewriting of a line, and have line and rewriting read in the situation."""
    context = yield from write_context(scene, line.text)
    if isinstance(context, RejectedRow):
        return replace(line, context_lost=_place(context))
    ambiguous = yield from write_ambiguous(scene, line, context)
    if isinstance(ambiguous, RejectedRow):
        return replace(line, context_lost=_place(ambiguous))
    written = replace(line, context=context, text_ambiguous=ambiguous.text)
    if line.readings is None or ambiguous.finding is None:
        return written
    in_context = yield from read_blind(Passage(line.text, context))
    alone, with_context = ambiguous.finding.readings
    return replace(
        written,
        readings=replace(line.readings, line_in_context=in_context, ambiguous=alone, ambiguous_in_context=with_context),
    )


def write_line(scene: Scene) -> Conversation[Drawn[LineReply] | RejectedRow]:
    """Write the cause, then the line, until a blind reader hears the emotion in it."""
    plan = scene.plan
    line = {"line": string(LINE_CHARS)}
    values = {"passage": fence(scene.section), "character": plan.character}
    ways: tuple[str, ...] = ("",)
    if scene.is_neutral:
        prompt = load_prompt("neutral")
        values["manner"] = MANNERS[plan.manner or "informing"]
    else:
        prompt = load_prompt("utterance")
        ways = ways_to_show(scene.label, plan.seed)
        values |= {
            "emotion": scene.emotion,
            "intensity": INTENSITIES[plan.intended.intensity or 2],
            "cause": because(plan.intended.cause),
            "banned": ", ".join(scene.synonyms[:BANNED]),
        }
    return (
        yield from draw(
            scene.plan,
            Question(
                stage="line",
                prompt=prompt,
                values=values,
                # a cause that is known need not be written again: it is a third of the tokens
                schema=structure(**({} if plan.intended.cause else {"cause": string(CAUSE_CHARS)}), **line),
                shape=LineReply,
                max_tokens=130,
                notes=avoid_note(plan.avoid),
                advice=ADVICE,
                avoid_words=scene.avoid_words,
                by_attempt=[{"expression": way} for way in ways],
            ),
            read=lambda answer: _line(answer.line, plan.character),
            gates=[*scene.line_gates(prompt), in_own_words(ways)],
            attempts=scene.settings.candidates,
            temperature=scene.settings.temperature,
            check=line_check(scene.plan.intended.label, scene.settings.rule, ways),
        )
    )


def avoid_note(worn: Sequence[str]) -> str:
    """Tell the writer which openings and phrases too many rows already use."""
    return "\nDo not use these words: " + "; ".join(f'"{phrase}"' for phrase in worn) + "." if worn else ""


def _worth_keeping(scene: Scene, drawn: Drawn[LineReply]) -> bool:
    """Whether a line may stay: realised, not read at all, or a miss that the recipe asks for."""
    finding = drawn.finding
    if finding is None or finding.realised:
        return True
    floor = scene.settings.keep_misses_above
    return floor is not None and RealisedRule(rank=len(finding.readings[0].labels), score=floor).holds(
        finding.readings[0], scene.plan.intended.label
    )


def _read(drawn: Drawn[LineReply]) -> Readings | None:
    if drawn.finding is None:
        return None
    return Readings(drawn.finding.readings[0], drawn.finding.realised, bool(drawn.realised_at_first))


def _place(row: RejectedRow) -> str:
    return f"{row.stage}/{row.reason}"


def because(cause: str) -> str:
    """Join a cause to 'You feel joy': 'because the ship is back', but 'when she saw it' and 'towards the ship'."""
    if not cause.strip():
        return ""
    return f" {cause}" if cause.split(maxsplit=1)[0].lower() in CONNECTIVES else f", because {cause}"


def write_context(scene: Scene, line: str) -> Conversation[str | RejectedRow]:
    """Write the situation up to the line, then take out the words that name a feeling if it has any."""
    prompt = load_prompt("context")
    told = yield from draw(
        scene.plan,
        Question(
            stage="context",
            prompt=prompt,
            values={"passage": fence(scene.section), "character": scene.plan.character, "line": line},
            schema=structure(situation=string(SITUATION_CHARS)),
            shape=SituationReply,
            max_tokens=80,
        ),
        read=_situation,
        gates=scene.situation_gates(prompt, line, names_feelings=True),
        attempts=ATTEMPTS,
        temperature=scene.settings.temperature,
    )
    if isinstance(told, RejectedRow):
        return told
    leaks = naming_words(told.text, scene.feelings)
    if not leaks:
        return told.text
    prompt = load_prompt("clean_context")
    cleaned = yield from draw(
        scene.plan,
        Question(
            stage="clean_context",
            prompt=prompt,
            values={"context": told.text, "leaks": ", ".join(leaks)},
            schema=structure(situation=string(SITUATION_CHARS)),
            shape=SituationReply,
            max_tokens=80,
        ),
        read=_situation,
        gates=scene.situation_gates(prompt, line, names_feelings=False),
        attempts=ATTEMPTS,
        temperature=scene.settings.temperature,
    )
    return cleaned if isinstance(cleaned, RejectedRow) else cleaned.text


def write_ambiguous(scene: Scene, line: Written, context: str) -> Conversation[Drawn[RewrittenReply] | RejectedRow]:
    """Write the line anew so that its emotion shows only together with the context: less certain alone than in it."""
    prompt = load_prompt("ambiguous")
    drawn = yield from draw(
        scene.plan,
        Question(
            stage="ambiguous",
            prompt=prompt,
            values={
                "context": context,
                "character": scene.plan.character,
                "line": line.text,
                "emotion": "the feeling" if scene.is_neutral else scene.emotion,
            },
            schema=structure(line=string(LINE_CHARS)),
            shape=RewrittenReply,
            max_tokens=80,
            avoid_words=tuple(word for word in scene.feelings if " " not in word),
        ),
        read=lambda answer: _line(answer.line, scene.plan.character),
        gates=[
            *scene.line_gates(prompt),
            partial(differs, line=line.text),
            # of any feeling: a small model says "happy" where it may not say "glad"
            partial(names_no_label, synonyms=scene.feelings),
            # the examples' rewritings fit anywhere, and four words of one are no chance
            partial(copies_nothing, source=prompt.text, n=4, reason="prompt_residue"),
        ],
        attempts=REWRITINGS,
        temperature=scene.settings.temperature,
        check=rewriting_check(
            scene.plan.intended.label, context, line.readings.line if line.readings else None, scene.settings.rule
        ),
    )
    if isinstance(drawn, RejectedRow) or drawn.finding is None or drawn.finding.realised:
        return drawn
    return missed(scene.plan, "ambiguous", drawn)


def differs(rewritten: str, line: str) -> Verdict:
    """Reject a rewriting that left the line as it was."""
    same = rewritten.casefold().strip(".!?… ") == line.casefold().strip(".!?… ")
    return Verdict.reject("unchanged", "the rewritten line is the line") if same else ACCEPTED


def _line(text: str, character: str) -> str:
    said = without_own_address(clean_line(text, speaker=character), speaker=character)
    return end_sentence(said, bound=LINE_CHARS)


def _situation(answer: SituationReply) -> str:
    return whole_sentences(clean_line(answer.situation), bound=SITUATION_CHARS)
