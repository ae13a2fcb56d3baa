# SPDX-License-Identifier: Apache-2.0
"""From a reply to data: the only door through which model text enters, strict and total."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from generators.chat import ChatReply
from validators.text import normalise_text
from validators.verdicts import Verdict


class Reply(BaseModel):
    """Base of what a model is asked to answer: an unknown key, a wrong type or NaN is no answer."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


Answer = TypeVar("Answer", bound=Reply)


def parse_reply(reply: ChatReply, shape: type[Answer]) -> Answer | Verdict:
    """Read a reply as `shape`, or say why it cannot be read. Raises nothing, whatever the text is."""
    if reply.finish_reason != "stop":
        return Verdict.reject("truncated", f"the reply ended by {reply.finish_reason}")
    try:
        return shape.model_validate_json(reply.text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Verdict.reject("unparsable", f"{first['type']} at {place or 'the start'}")


def storable(text: str) -> str:
    """Replace what UTF-8 cannot hold: a reply may end in half a character, and is kept with the rejected row."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def clean_line(text: str, *, speaker: str = "") -> str:
    """Strip what models put around a line: quotation marks, and the speaker's name as in a play."""
    text = " ".join(normalise_text(text).split())
    if speaker and text.lower().startswith(f"{speaker.lower()}:"):
        text = text[len(speaker) + 1 :].strip()
    for opening, closing in ('""', "“”", "''", "‘’"):
        inner = text[1:-1]
        if len(text) > 2 and text[0] == opening and text[-1] == closing and not {opening, closing} & set(inner):
            text = inner.strip()
    return text


def without_own_address(text: str, *, speaker: str) -> str:
    """Drop the speaker's own name where it is set off as if the other were called so: "Thank you, Ida." said by Ida.

    A small model mixes up who is addressed; the rest of the line is right as it stands. A name within a sentence stays,
    for the gates to judge.
    """
    name = re.escape(speaker)
    if not name:
        return text
    text = re.sub(rf",\s+{name}(?=[,.!?;…]|$)", "", text)
    text = re.sub(rf"^{name}[,!]\s+(?=\S)", "", text)
    return text[:1].upper() + text[1:]


def end_sentence(text: str, *, bound: int) -> str:
    """Set the full stop that small models leave out; a text as long as its bound was cut, and stays without one."""
    is_whole = len(text) < bound - 1 and text[-1:].isalnum()
    return f"{text}." if is_whole else text


def whole_sentences(text: str, *, bound: int) -> str:
    """Drop the last sentence of a text that was cut at its bound, if a whole one is left before it."""
    if len(text) < bound - 1:
        return end_sentence(text, bound=bound)
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text


def string(max_length: int, *, choices: Sequence[str] | None = None) -> dict[str, object]:
    """JSON schema of a string; without a bound a small model may write until its tokens end."""
    return {"enum": list(choices)} if choices else {"type": "string", "maxLength": max_length}


def array(items: Mapping[str, object], *, fewest: int, most: int) -> dict[str, object]:
    """JSON schema of a list with bounds."""
    return {"type": "array", "items": dict(items), "minItems": fewest, "maxItems": most}


def structure(**properties: Mapping[str, object]) -> dict[str, object]:
    """JSON schema of an object: all properties required, in this order, and no other."""
    return {
        "type": "object",
        "properties": {name: dict(schema) for name, schema in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }
