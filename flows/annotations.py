# SPDX-License-Identifier: Apache-2.0
"""What the author of a story says its characters feel, in the front matter of the story's file.

    feelings:
      - {at: a few words of the story, who: Ida, feels: remorse, because: you left the lid off the hive}

Who knows a story knows better than any model who has cause for what in it: with `stories.evidence: given` these pairs
are asked for, and no model call goes into finding any.
"""

from collections.abc import Collection, Sequence

from pydantic import ValidationError

from flows.drafts import Annotation, Draft
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.records import Feeling
from validators.text import normalise_text


def read_annotations(told: object, where: str) -> tuple[Annotation, ...]:
    """Read the value of the key `feelings`."""
    if not isinstance(told, list):
        raise _error("is no list", where)
    annotations = []
    for number, one in enumerate(told, start=1):
        try:
            annotations.append(Annotation.model_validate(one))
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"])) or "it"
            raise _error(f"entry {number}: {place}: {problem['msg'][:80]}", where) from error
    return tuple(annotations)


def place_feelings(draft: Draft, sections: Sequence[str], labels: Collection[str]) -> tuple[Feeling, ...]:
    """Find the section of each annotation by the words that it quotes.

    Raises InputError where the words are not in the story or in two of its sections, where nobody of that name is in
    it, or where the taxonomy has no such label.
    """
    feelings = []
    for one in draft.annotations:
        quoted, who = normalise_text(one.at), normalise_text(one.who)
        found = [number for number, section in enumerate(sections) if quoted in section]
        if len(found) != 1:
            where = "in several sections" if found else "nowhere"
            raise _error(
                f"the words {quoted!r} are {where} in the story: quote others, within one sentence", draft.where
            )
        if not any(who in section for section in sections):
            raise _error(f"nobody called {who!r} is in the story", draft.where)
        if one.feels not in labels:
            hint = did_you_mean(one.feels, sorted(labels))
            raise _error(f"the taxonomy has no label {one.feels!r}. {hint}", draft.where)
        feelings.append(Feeling(section=found[0], character=who, label=one.feels, cause=normalise_text(one.because)))
    return tuple(feelings)


def _error(what: str, where: str) -> InputError:
    return InputError(
        f"The feelings of a story cannot be read: {what}.",
        where=where,
        next_step="Write each as {at: words of the story, who: a name, feels: a label, because: a clause}.",
    )
