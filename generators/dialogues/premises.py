# SPDX-License-Identifier: Apache-2.0
"""What a dialogue starts from: one call that invents personas, relation, goal, and an event for each new feeling."""

import re
from functools import partial

from generators.conversations import Conversation
from generators.dialogues.scenes import DialogueScene, Premise
from generators.draws import Drawn, Question, draw
from generators.parsing import Reply, array, clean_line, string, structure, whole_sentences
from generators.prompts import EXAMPLE_NAMES, fence, load_prompt
from validators.gates import copies_nothing, no_model_talk, no_residue, no_stranger, right_language, split_words
from validators.personal_data import no_personal_data
from validators.records import RejectedRow
from validators.verdicts import ACCEPTED, Verdict

SITUATION_CHARS = 200  # a sentence or two
PERSONA_CHARS = 70
EVENT_CHARS = 90  # a clause
ATTEMPTS = 2


class PremiseReply(Reply):
    """What the writer answers."""

    situation: str
    first: str
    second: str
    relation: str
    goal: str
    events: list[str]


def write_premise(scene: DialogueScene) -> Conversation[Premise | RejectedRow]:
    """Invent what a dialogue starts from."""
    first, second = scene.plan.names
    prompt = load_prompt("dialogue_seed")
    changes = scene.changes()
    persona, clause = string(PERSONA_CHARS), string(EVENT_CHARS)
    source = f"{scene.topic} {first} {second}"
    drawn = yield from draw(
        _Named(scene),
        Question(
            stage="premise",
            prompt=prompt,
            values={
                "topic": _topic(scene),
                "first": first,
                "second": second,
                "events": "\n".join(f"{n}. {line}" for n, line in enumerate(_wishes(scene), start=1)),
            },
            schema=structure(
                situation=string(SITUATION_CHARS),
                first=persona,
                second=persona,
                relation=string(60),
                goal=string(PERSONA_CHARS),
                events=array(clause, fewest=len(changes), most=len(changes)),
            ),
            shape=PremiseReply,
            max_tokens=170 + 32 * len(changes),
            writer=scene.plan.writers[0],
        ),
        read=_read,
        gates=[
            no_residue,
            no_model_talk,
            no_personal_data,
            partial(copies_nothing, source=prompt.text, n=6, reason="prompt_residue"),
            partial(no_stranger, strangers=EXAMPLE_NAMES, source=source),
            partial(right_language, language=scene.language),
            _nothing_empty,
            partial(_personas_are_theirs, names=(first, second)),
            partial(_personas_are_new, source=prompt.text),
        ],
        attempts=ATTEMPTS,
        temperature=scene.settings.temperature,
    )
    return drawn if isinstance(drawn, RejectedRow) else _premise(scene, drawn)


class _Named:
    """A dialogue as `draw` accounts for it before its first turn: it has no label yet."""

    label = ""

    def __init__(self, scene: DialogueScene) -> None:
        self.planned_id = scene.plan.dialogue_id
        self.seed = scene.plan.seed


def _topic(scene: DialogueScene) -> str:
    if scene.opening is None:
        return scene.topic
    begins = f'The dialogue begins when {scene.plan.names[0]} says: "{scene.opening.text}"'
    return f"a scene of a story.\n{fence(scene.topic)}\n{begins}"


def _wishes(scene: DialogueScene) -> list[str]:
    """Ask for an event behind each new feeling, in the order of the turns."""
    wishes = []
    for number, before in scene.changes().items():
        turn = scene.plan.trajectory[number]
        then = "" if before is None else " then"
        wishes.append(f"why {scene.plan.names[turn.speaker]}{then} feels {scene.emotion(turn.label)}")
    return wishes


def _premise(scene: DialogueScene, drawn: Drawn[PremiseReply]) -> Premise:
    answer = drawn.answer
    events = dict(zip(scene.changes(), map(_clause, answer.events), strict=True))
    if scene.opening:
        events[0] = scene.opening.intended.cause or events[0]
    causes: list[str] = []
    for number in range(len(scene.plan.trajectory)):
        # while a feeling lasts, what brought it about still does
        causes.append(events[number] if number in events else causes[number - 2])
    return Premise(
        situation=_sentence(answer.situation),
        personas=(_persona(answer.first, scene.plan.names[0]), _persona(answer.second, scene.plan.names[1])),
        relation=_clause(answer.relation),
        goal=_clause(answer.goal),
        causes=tuple(causes),
    )


def _read(answer: PremiseReply) -> str:
    parts = (answer.situation, answer.first, answer.second, answer.relation, answer.goal, *answer.events)
    return "\n".join(clean_line(part) for part in parts)


def _nothing_empty(text: str) -> Verdict:
    if all(part.strip() for part in text.split("\n")):
        return ACCEPTED
    return Verdict.reject("incomplete", "a part of the premise is empty")


def _personas_are_theirs(text: str, *, names: tuple[str, str]) -> Verdict:
    """Reject a premise that describes one of the two in the place of the other, or by the name alone."""
    personas = text.split("\n")[1:3]
    for place, persona in enumerate(personas):
        words, own, other = (
            set(split_words(persona)),
            set(split_words(names[place])),
            set(split_words(names[1 - place])),
        )
        if words & (other - own) and not words & own:
            return Verdict.reject("wrong_persona", persona)
        if not words - own:
            return Verdict.reject("wrong_persona", f"{persona} is a name alone")
    return ACCEPTED


def _personas_are_new(text: str, *, source: str) -> Verdict:
    """Reject personas and a relation that are those of the examples; a few words are half of so short a clause."""
    return copies_nothing("\n".join(text.split("\n")[1:4]), source=source, n=4, reason="prompt_residue")


def _persona(text: str, name: str) -> str:
    """Make a persona that follows its name: "a nurse", not "Ida is a nurse"."""
    return re.sub(rf"^{re.escape(name)}(?: is\b|,)\s*", "", _clause(text), flags=re.IGNORECASE)


def _sentence(text: str) -> str:
    return whole_sentences(clean_line(text), bound=SITUATION_CHARS)


def _clause(text: str) -> str:
    """Make a clause that goes into a sentence: without a full stop at its end."""
    return clean_line(text).rstrip(" .")
