# SPDX-License-Identifier: Apache-2.0
"""The page of `affectory review` and what it asks for: items without what was intended, sounds, and answers."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, TypeVar

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.review_guard import Guard
from flows.review_items import Item, Items, Place, check_text, choices_of, order_for
from flows.review_store import Labels, Rater, ReviewStore
from validators.rating_schemas import INTENSITIES, MAX_LABELS
from validators.taxonomy import Taxonomy

MAX_NAME: Final = 60
MAX_BODY_BYTES: Final = 10_000
_FILES: Final = (("review.js", "javascript"), ("review.css", "css"))
QUESTIONS: Final = {
    "text": "Which emotions do you perceive in this line?",
    "dialogue": "Which emotions do you perceive in the last turn?",
    "audio": "Which emotions do you perceive in this voice?",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Review:
    """A release being rated."""

    items: Items
    sampled: tuple[Item, ...]
    taxonomy: Taxonomy
    seed: int
    store: ReviewStore

    def begin(self, name: str) -> str:
        """Let a rater begin or go on, and give their key."""

        def order() -> list[Place]:
            return order_for(name, [self.items.place(item, "first") for item in self.sampled], self.taxonomy, self.seed)

        return self.store.begin(Rater(name, self.items.kind), order)

    def open_places(self, rater: Rater) -> dict[int, Place]:
        """A rater's places, without those whose item the release holds no longer."""
        return {
            position: place
            for position, place in enumerate(self.store.places(rater))
            if place.presentation == "check" or self.items.find(place.item_id, place.turn, place.item_sha256)
        }

    def state(self, rater: Rater) -> dict[str, Any]:
        """Which places there are and which are answered. What kind a place is of is not told."""
        places, answers = self.open_places(rater), self.store.answers_of(rater)
        return {"rater": rater.name, "places": list(places), "answered": sorted(places.keys() & answers.keys())}

    def shown(self, rater: Rater, position: int) -> dict[str, Any] | None:
        """What a rater sees at a place, and what they answered there."""
        place = self.open_places(rater).get(position)
        if place is None:
            return None
        content = self._content(place)
        answer = self.store.answers_of(rater).get(position)
        return {"content": content, "answer": None if answer is None else [list(one) for one in answer]}

    def sound(self, rater: Rater, position: int) -> bytes | None:
        """The sound at a place; None where there is none."""
        place = self.open_places(rater).get(position)
        if place is None or place.item_id is None or self.items.kind != "audio":
            return None
        return self.items.sound(place.item_id)

    def _content(self, place: Place) -> dict[str, Any]:
        if place.asked_label is not None:
            return {"check": check_text(self.taxonomy.label(place.asked_label))}
        item = self.items.find(place.item_id, place.turn, place.item_sha256)
        if item is None:  # open_places has found it
            raise LookupError(place.item_id)
        return {"sound": True} if self.items.kind == "audio" else dict(item.shown)


def make_app(review: Review, *, title: str, port: int, token: str | None = None) -> Starlette:
    """The application; `token` guards it where it is not on loopback alone."""
    answers = _Answers(review)
    files = (("/", _page(review, title), "html"), *((f"/{name}", _static(name), kind) for name, kind in _FILES))
    return Starlette(
        routes=[
            *(Route(path, _constant(content, f"text/{kind}")) for path, content, kind in files),
            Route("/raters", answers.begin, methods=["POST"]),
            Route("/raters/{key}", answers.state),
            Route("/raters/{key}/items/{position:int}", answers.item),
            Route("/raters/{key}/items/{position:int}", answers.answer, methods=["POST"]),
            Route("/raters/{key}/sounds/{position:int}", answers.sound),
        ],
        middleware=[Middleware(Guard, port=port, token=token)],
    )


class _Answers:
    """What the page asks for. Plain functions run in threads; those that read a body hand the rest over to one."""

    def __init__(self, review: Review) -> None:
        self._review = review

    async def begin(self, request: Request) -> Response:
        name = _rater_name(await _body(request))
        return JSONResponse({"key": await run_in_threadpool(self._review.begin, name)})

    def state(self, request: Request) -> Response:
        return JSONResponse(self._review.state(self._rater(request)))

    def item(self, request: Request) -> Response:
        shown = self._review.shown(self._rater(request), request.path_params["position"])
        return JSONResponse(_there(shown))

    def sound(self, request: Request) -> Response:
        flac = self._review.sound(self._rater(request), request.path_params["position"])
        return _ranged(_there(flac), request.headers.get("range"))

    async def answer(self, request: Request) -> Response:
        labels = _labels(await _body(request), self._review.taxonomy)
        await run_in_threadpool(self._store, request, labels)
        return JSONResponse({"stored": True})

    def _store(self, request: Request, labels: Labels) -> None:
        rater, position = self._rater(request), request.path_params["position"]
        _there(self._review.open_places(rater).get(position))
        self._review.store.answer(rater, position, labels)

    def _rater(self, request: Request) -> Rater:
        rater = self._review.store.rater(request.path_params["key"])
        if rater is None or rater.kind != self._review.items.kind:
            raise HTTPException(401, "Begin again: this name was begun in another window, or on another kind of item.")
        return rater


def _there(found: T | None) -> T:
    if found is None:
        raise HTTPException(404, "There is no such item.")
    return found


def _constant(content: str, kind: str) -> Callable[[Request], Response]:
    return lambda _: Response(content, media_type=kind)


def _page(review: Review, title: str) -> str:
    labels = sorted(choices_of(review.taxonomy), key=lambda label: label.title.casefold())  # the same for every item
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_static("review.html"))
    return template.render(
        title=title, labels=labels, question=QUESTIONS[review.items.kind], kind=review.items.kind, max_name=MAX_NAME,
        max_labels=MAX_LABELS,
    )  # fmt: skip


def _static(name: str) -> str:
    return (files("flows") / "templates" / name).read_text(encoding="utf-8")


async def _body(request: Request) -> Any:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, "That is too long.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "That is no JSON.") from error


def _rater_name(body: Any) -> str:
    """A name as it is kept: one printable line; what it says is never markup, since nothing renders it as such."""
    given = body.get("rater") if isinstance(body, dict) else None
    name = unicodedata.normalize("NFC", given).strip() if isinstance(given, str) else ""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise HTTPException(400, f"Give a name of 1 to {MAX_NAME} printable characters.")
    return name


def _labels(body: Any, taxonomy: Taxonomy) -> Labels:
    given = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(given, list) or len(given) > MAX_LABELS:
        raise HTTPException(400, f"Give a list of up to {MAX_LABELS} labels; an empty one for none.")
    known = {label.name for label in choices_of(taxonomy)}
    labels: Labels = []
    for one in given:
        label, intensity = one if isinstance(one, list) and len(one) == 2 else (None, None)
        if not isinstance(label, str) or label not in known or label in dict(labels):
            raise HTTPException(400, "Each label is one of the list, and there once.")
        if type(intensity) is not int or intensity not in INTENSITIES:
            raise HTTPException(400, "Each intensity is 0, 1 or 2.")
        labels.append((label, intensity))
    return labels


def _ranged(content: bytes, asked: str | None) -> Response:
    """The bytes that a player asks for (RFC 9110, 14.1.2, a single range), or all."""
    headers = {"Accept-Ranges": "bytes"}
    unit, _, span = (asked or "").partition("=")
    begin, dash, end = span.strip().partition("-")
    numeric = all(not part or (part.isascii() and part.isdigit()) for part in (begin, end))
    if unit.strip() != "bytes" or not dash or not numeric or not begin + end:
        return Response(content, media_type="audio/flac", headers=headers)
    size = len(content)
    first = int(begin) if begin else max(0, size - int(end))
    last = min(int(end), size - 1) if begin and end else size - 1
    if first >= size or last < first:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(content[first : last + 1], 206, media_type="audio/flac", headers=headers)
