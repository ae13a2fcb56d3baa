# SPDX-License-Identifier: Apache-2.0
"""How one utterance is written: lines, the situation before it, the situation cleaned, the line made ambiguous.

This is Emo Pillars' chain (Shvets 2025, section 3) with its known weaknesses mended: the emotion is asked of a section
that gives cause for it, several lines are written and gated, and whatever fails is kept with its reason.
"""

from dataclasses import dataclass

from generators.chat import ChatReply
from generators.conversations import Conversation
from generators.parsing import Reply, clean_line, end_sentence, parse_reply, string, structure
from generators.prompts import Prompt, fence, load_prompt
from validators.gates import Gate, GateBounds, judge, line_gates, naming_words, situation_gates
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

CAUSE_CHARS = 120  # a clause
LINE_CHARS = 220  # 45 words at most; longer ones ramble
SITUATION_CHARS = 420  # two sentences


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
    settings: WritingSettings

    def rejected(self, stage: str, gate: str, verdict: Verdict, reply: str, *, attempt: int = 1) -> RejectedRow:
        """This row as a rejected one."""
        return RejectedRow(
            planned_id=self.plan.utterance_id,
            stage=stage,
            gate=gate,
            reason=verdict.reason or "",
            detail=verdict.detail,
            label=self.plan.intended.label,
            attempt=attempt,
            seed=self.plan.seed,
            reply=reply,
        )

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
    """Draw candidates of the line until one passes all gates, each with its cause first.

    One at a time and not as a list: a small model repeats itself in a list, while a new seed gives a new line; the
    engine has the prompt in its cache; and no tokens go into candidates that nobody needs.
    """
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
            "cause": f", because {plan.intended.cause}" if plan.intended.cause else "",
            "banned": ", ".join(scene.synonyms[:6]),
        }
    gates = scene.line_gates(prompt)
    failed: list[tuple[str, Verdict, ChatReply]] = []
    for attempt in range(scene.settings.candidates):
        reply = yield prompt.request(
            values,
            schema=structure(cause=string(CAUSE_CHARS), line=string(LINE_CHARS)),
            max_tokens=130,
            temperature=scene.settings.temperature,
            seed=(plan.seed + attempt) % 2**31,
        )
        answer = parse_reply(reply, LineReply)
        if isinstance(answer, Verdict):
            failed.append(("parse", answer, reply))
            continue
        text = end_sentence(clean_line(answer.line, speaker=plan.character), bound=LINE_CHARS)
        verdict = judge(text, gates)
        if verdict.accepted:
            return Line(text, plan.intended.cause or clean_line(answer.cause), attempt + 1)
        failed.append(("rules", verdict, reply))
    gate, verdict, _ = failed[-1]
    detail = "; ".join(f"{one.reason}: {one.detail}" for _, one, _ in failed)
    replies = "\n".join(reply.text for _, _, reply in failed)
    return scene.rejected("line", gate, Verdict.reject(verdict.reason or "", detail), replies, attempt=len(failed))


def write_context(scene: Scene, line: str) -> Conversation[str | RejectedRow]:
    """Ask for the situation up to the line, and take out the words that name the emotion if it has any."""
    prompt = load_prompt("context")
    reply = yield prompt.request(
        {"passage": fence(scene.section), "character": scene.plan.character, "line": line},
        schema=structure(situation=string(SITUATION_CHARS)),
        max_tokens=140,
        temperature=scene.settings.temperature,
        seed=scene.plan.seed,
    )
    answer = parse_reply(reply, SituationReply)
    if isinstance(answer, Verdict):
        return scene.rejected("context", "parse", answer, reply.text)
    context = end_sentence(clean_line(answer.situation), bound=SITUATION_CHARS)
    leaks = naming_words(context, scene.synonyms)
    if leaks:
        prompt = load_prompt("clean_context")
        reply = yield prompt.request(
            {"context": context, "leaks": ", ".join(leaks)},
            schema=structure(situation=string(SITUATION_CHARS)),
            max_tokens=140,
            temperature=scene.settings.temperature,
            seed=scene.plan.seed,
        )
        answer = parse_reply(reply, SituationReply)
        if isinstance(answer, Verdict):
            return scene.rejected("context", "parse", answer, reply.text)
        context = end_sentence(clean_line(answer.situation), bound=SITUATION_CHARS)
    verdict = judge(
        context,
        situation_gates(
            line=line,
            synonyms=scene.synonyms,
            language=scene.language,
            prompt=prompt.text,
            bounds=scene.settings.bounds,
        ),
    )
    return context if verdict.accepted else scene.rejected("context", "rules", verdict, reply.text)


def write_ambiguous(scene: Scene, line: str, context: str) -> Conversation[str | RejectedRow]:
    """Ask for the line rewritten so that its emotion shows only together with the context."""
    prompt = load_prompt("ambiguous")
    reply = yield prompt.request(
        {
            "context": context,
            "character": scene.plan.character,
            "line": line,
            "emotion": "the feeling" if scene.is_neutral else scene.label.title.lower(),
        },
        schema=structure(line=string(LINE_CHARS)),
        max_tokens=80,
        temperature=scene.settings.temperature,
        seed=scene.plan.seed,
    )
    answer = parse_reply(reply, RewrittenReply)
    if isinstance(answer, Verdict):
        return scene.rejected("ambiguous", "parse", answer, reply.text)
    rewritten = end_sentence(clean_line(answer.line, speaker=scene.plan.character), bound=LINE_CHARS)
    verdict = judge(rewritten, scene.line_gates(prompt))
    if verdict.accepted:
        verdict = differs(rewritten, line)
    return rewritten if verdict.accepted else scene.rejected("ambiguous", "rules", verdict, reply.text)


def differs(rewritten: str, line: str) -> Verdict:
    """Reject a rewriting that left the line as it was."""
    same = rewritten.casefold().strip(".!?… ") == line.casefold().strip(".!?… ")
    return Verdict.reject("unchanged", "the rewritten line is the line") if same else ACCEPTED
