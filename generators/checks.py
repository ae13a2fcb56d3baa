# SPDX-License-Identifier: Apache-2.0
"""What the reading loop asks of a candidate: the emotion is heard; a rewritten line is less certain alone."""

from collections.abc import Sequence

from generators.conversations import Conversation, read_blind
from generators.draws import Check, Finding
from validators.readings import Reading, RealisedRule
from validators.roles import Passage

MOST_HEARD = 2  # labels named to the writer as what was heard instead; a longer list tells it less


def line_check(label: str, rule: RealisedRule | None, ways: Sequence[str] = ()) -> Check | None:
    """Check that the emotion is heard in a line that is read alone.

    Where there are several ways to show it, the next attempt is told the next of them, and nothing of the miss. On 48
    turns of a model of 1.5B in up to four attempts 28 were realised so, 24 when told what was heard instead, and fewer
    still when also told the line itself, which it says again.
    """
    if rule is None:
        return None

    def check(text: str) -> Conversation[Finding]:
        reading = yield from read_blind(Passage(text))
        heard = heard_instead(reading, label)
        return Finding(
            realised=rule.holds(reading, label),
            margin=reading.margin(label),
            # the emotion stands in the question already: a small model says the word that it has read last
            repair="" if len(ways) > 1 else f"\nA listener heard {heard} in your first line. Say something else.",
            heard=heard,
            readings=(reading,),
        )

    return check


def rewriting_check(label: str, context: str, line: Reading | None, rule: RealisedRule | None) -> Check | None:
    """Check that a rewritten line is less certain alone than after its situation.

    A reader for which the situation changes nothing at all leaves situations out. It can tell whether the words alone
    are less certain than those of the line that was rewritten, whose reading is `line`.
    """
    if rule is None or line is None:
        return None

    def check(text: str) -> Conversation[Finding]:
        alone = yield from read_blind(Passage(text))
        in_context = yield from read_blind(Passage(text, context))
        hears_situations = alone.scores != in_context.scores
        gain = (in_context if hears_situations else line).margin(label) - alone.margin(label)
        return Finding(
            realised=gain > 0,
            margin=gain,
            repair=f'\nYou wrote: "{text}" The feeling shows too plainly in it. Say less.',
            heard="as certain alone as in its situation" if hears_situations else "as certain as before",
            readings=(alone, in_context),
        )

    return check


def heard_instead(reading: Reading, label: str) -> str:
    """Name the labels that a reader found more clearly than the intended one, or "nothing clear"."""
    above = [name for name in reading.ranking[: reading.rank(label) - 1] if reading.margin(name) > 0]
    return " and ".join(above[:MOST_HEARD]) or "nothing clear"
