# SPDX-License-Identifier: Apache-2.0
"""How one utterance is written: lines, the situation before it, the situation cleaned, the line made ambiguous.

This is Emo Pillars' chain (Shvets 2025, section 3) with its known weaknesses mended: the emotion is asked of a section
that gives cause for it, several lines are written and gated, and whatever fails is kept with its reason.
"""

from dataclasses import dataclass

from generators.conversations import Conversation
from generators.draws import Question, draw
from generators.parsing import Reply, clean_line, end_sentence, string, structure, whole_sentences
from generators.prompts import EXAMPLE_NAMES, Prompt, fence, load_prompt
from validators.gates import Gate, GateBounds, line_gates, naming_words, situation_gates
from validators.records import PlannedUtterance, RejectedRow
from validators.taxonomy import Label
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
SITUATION_CHARS = 320  # two sentences
ATTEMPTS = 2  # at a situation or a rewriting: what came before is paid for, so one more try is worth it


class LineReply(Reply):
    """What the writer answers: why the line is said, then the line."""

    cause: str
    line: str


class SituationReply(Reply):
    """What the writer answers when asked for the situation."""

    situation: str


class RewrittenReply(Reply):
    """What the writer answers when asked to rewrite a line."""

    line: str


@dataclass(frozen=True, slots=True)
class WritingSettings:
    """What is the same for all rows of a run."""

    candidates: int
    temperature: float
    bounds: GateBounds


@dataclass(frozen=True, slots=True)
class Line:
    """What a character says, and why: the cause of the evidence, or where that has none the writer's own."""

    text: str
    cause: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Written:
    """The texts of a kept row; a row that is not contextual ends with the line."""

    text: str
    cause: str
    context: str | None
    text_ambiguous: str | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A planned row with all that its prompts need."""

    plan: PlannedUtterance
    section: str
    language: str
    label: Label
    is_neutral: bool
    feelings: tuple[str, ...]
    """The words that name any emotion of the taxonomy: a situation tells none of them."""
    settings: WritingSettings

    @property
    def synonyms(self) -> tuple[str, ...]:
        """The words that name the emotion; a neutral line may say 'neutral'."""
        return () if self.is_neutral else (self.label.name, *self.label.synonyms)

    def line_gates(self, prompt: Prompt) -> list[Gate]:
        """Gates for a line of this scene."""
        return line_gates(
            character=self.plan.character,
            section=self.section,
            synonyms=self.synonyms,
            language=self.language,
            prompt=prompt.text,
            strangers=EXAMPLE_NAMES,
            bounds=self.settings.bounds,
        )

    def situation_gates(self, prompt: Prompt, line: str, *, names_feelings: bool) -> list[Gate]:
        """Gates for the situation before a line; a first version may name feelings, since it is cleaned next."""
        return situation_gates(
            line=line,
            section=self.section,
            feelings=() if names_feelings else self.feelings,
            language=self.language,
            prompt=prompt.text,
            strangers=EXAMPLE_NAMES,
            bounds=self.settings.bounds,
        )


def write_utterance(scene: Scene) -> Conversation[Written | RejectedRow]:
    """Write one row, or say at which stage and by which gate it fell."""
    line = yield from write_line(scene)
    if isinstance(line, RejectedRow):
        return line
    if not scene.plan.contextual:
        return Written(line.text, line.cause, None, None, line.attempts)
    context = yield from write_context(scene, line.text)
    if isinstance(context, RejectedRow):
        return context
    ambiguous = yield from write_ambiguous(scene, line.text, context)
    if isinstance(ambiguous, RejectedRow):
        return ambiguous
    return Written(line.text, line.cause, context, ambiguous, line.attempts)


def write_line(scene: Scene) -> Conversation[Line | RejectedRow]:
    """Write the cause, then the line. The cause is that of the evidence, or where that has none the writer's own."""
    plan = scene.plan
    values = {"passage": fence(scene.section), "character": plan.character}
    if scene.is_neutral:
        prompt = load_prompt("neutral")
        values["manner"] = MANNERS[plan.manner or "informing"]
    else:
        prompt = load_prompt("utterance")
        values |= {
            "emotion": scene.label.title.lower(),
            "intensity": INTENSITIES[plan.intended.intensity or 2],
            "cause": because(plan.intended.cause),
            "banned": ", ".join(scene.synonyms[:6]),
        }
    drawn = yield from draw(
        scene.plan,
        Question(
            stage="line",
            prompt=prompt,
            values=values,
            schema=structure(cause=string(CAUSE_CHARS), line=string(LINE_CHARS)),
            shape=LineReply,
            max_tokens=130,
        ),
        read=lambda answer: end_sentence(clean_line(answer.line, speaker=plan.character), bound=LINE_CHARS),
        gates=scene.line_gates(prompt),
        attempts=scene.settings.candidates,
        temperature=scene.settings.temperature,
    )
    if isinstance(drawn, RejectedRow):
        return drawn
    return Line(drawn.text, plan.intended.cause or clean_line(drawn.answer.cause), drawn.attempt)


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
            max_tokens=110,
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
            max_tokens=110,
        ),
        read=_situation,
        gates=scene.situation_gates(prompt, line, names_feelings=False),
        attempts=ATTEMPTS,
        temperature=scene.settings.temperature,
    )
    return cleaned if isinstance(cleaned, RejectedRow) else cleaned.text


def write_ambiguous(scene: Scene, line: str, context: str) -> Conversation[str | RejectedRow]:
    """Write the line anew so that its emotion shows only together with the context."""
    prompt = load_prompt("ambiguous")
    drawn = yield from draw(
        scene.plan,
        Question(
            stage="ambiguous",
            prompt=prompt,
            values={
                "context": context,
                "character": scene.plan.character,
                "line": line,
                "emotion": "the feeling" if scene.is_neutral else scene.label.title.lower(),
            },
            schema=structure(line=string(LINE_CHARS)),
            shape=RewrittenReply,
            max_tokens=80,
        ),
        read=lambda answer: end_sentence(clean_line(answer.line, speaker=scene.plan.character), bound=LINE_CHARS),
        gates=[*scene.line_gates(prompt), lambda text: differs(text, line)],
        attempts=ATTEMPTS,
        temperature=scene.settings.temperature,
    )
    return drawn if isinstance(drawn, RejectedRow) else drawn.text


def differs(rewritten: str, line: str) -> Verdict:
    """Reject a rewriting that left the line as it was."""
    same = rewritten.casefold().strip(".!?… ") == line.casefold().strip(".!?… ")
    return Verdict.reject("unchanged", "the rewritten line is the line") if same else ACCEPTED


def _situation(answer: SituationReply) -> str:
    return whole_sentences(clean_line(answer.situation), bound=SITUATION_CHARS)
