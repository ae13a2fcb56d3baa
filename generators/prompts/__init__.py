# SPDX-License-Identifier: Apache-2.0
"""Prompts: plain text files beside this module, filled by `string.Template`, hashed into every row.

A file is a chat: blocks headed `=== system`, `=== user` or `=== assistant`. Only the last block holds `$placeholders`;
all before it is the same for every request of its kind, so that the engine's prefix cache serves it.

Covered: a value is filled in once and never read as a template again; story text stands between fences that its author
cannot foresee, since they are made from the text itself; chat control tokens were taken out when the story was read.
Not covered: a story can still talk a model into writing a worse line. Labels, ids and files never come from a reply,
so the harm ends with that row.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Literal, cast

from generators.chat import ChatRequest, Message, Role

PromptName = Literal[
    "characters",
    "evidence",
    "utterance",
    "neutral",
    "context",
    "clean_context",
    "ambiguous",
    "read",
    "dialogue_seed",
    "dialogue_turn",
    "dialogue_judge",
]
PROMPTS: tuple[PromptName, ...] = (
    "characters",
    "evidence",
    "utterance",
    "neutral",
    "context",
    "clean_context",
    "ambiguous",
)
"""The prompts of writing utterances, whose hash every one of them records."""
DIALOGUE_PROMPTS: tuple[PromptName, ...] = ("dialogue_seed", "dialogue_turn", "dialogue_judge")
"""The prompts of dialogues, whose hash every dialogue records; an edit leaves utterances alone."""
READING_PROMPTS: tuple[PromptName, ...] = ("read",)
"""The prompts of readers, who put the hash into their own model name: a reader's edit leaves what was written alone."""

EXAMPLE_NAMES = ("ida", "tom", "marek")
"""The people in the examples of all prompts: small models take them along into other stories."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat whose last message is a template."""

    constant: tuple[Message, ...]
    template: Template
    sha256: str

    def request(
        self,
        values: Mapping[str, str],
        *,
        schema: Mapping[str, object] | None,
        max_tokens: int,
        temperature: float,
        seed: int,
        top_logprobs: int = 0,
        avoid_words: tuple[str, ...] = (),
        writer: str = "",
    ) -> ChatRequest:
        """Fill the template; a missing value is a KeyError, since it is a bug and not a bad row."""
        question = Message("user", self.template.substitute(values))
        return ChatRequest(
            messages=(*self.constant, question),
            # not sorted: the order of the keys is the order in which the model writes them
            schema=None if schema is None else json.dumps(schema, ensure_ascii=False, separators=(",", ":")),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            top_logprobs=top_logprobs,
            avoid_words=avoid_words,
            writer=writer,
        )

    @property
    def text(self) -> str:
        """The constant part as one text: what a reply must not copy."""
        return "\n".join(message.content for message in self.constant)


@cache
def load_prompt(name: PromptName) -> Prompt:
    """Read a prompt that comes with the package."""
    text = (files("generators") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    messages: list[Message] = []
    for block in text.split("=== ")[1:]:
        role, content = block.split("\n", 1)
        messages.append(Message(cast(Role, role.strip()), content.strip()))
    return Prompt(tuple(messages[:-1]), Template(messages[-1].content), hashlib.sha256(text.encode()).hexdigest())


def prompt_name(request: ChatRequest) -> PromptName | None:
    """The prompt that a request was made from, by its constant part; None where it is none of ours."""
    return _names_by_constant().get(request.messages[:-1])


@cache
def _names_by_constant() -> dict[tuple[Message, ...], PromptName]:
    names = (*PROMPTS, *DIALOGUE_PROMPTS, *READING_PROMPTS)
    return {load_prompt(name).constant: name for name in names}


@cache
def prompts_sha256(names: tuple[PromptName, ...] = PROMPTS) -> str:
    """Hash of prompts together: what every row records."""
    return hashlib.sha256("".join(load_prompt(name).sha256 for name in names).encode()).hexdigest()


def fence(text: str) -> str:
    """Put untrusted text between two lines that it cannot contain, except by guessing its own hash."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"[{mark}]\n{text}\n[/{mark}]"
