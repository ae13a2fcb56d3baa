# SPDX-License-Identifier: Apache-2.0
"""`affectory review`: people rate a finished release in the browser, and what they heard becomes a table and figures.

    outputs/<name>/review/
    ├── answers.sqlite      every answer, as it came
    └── ratings.parquet     the answers beside what was intended and perceived; made by an export

Neither is part of the release: raters' names stay here. The card gets figures alone.
"""

import contextlib
import secrets
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flows import interrupts
from flows.atomic import refuse_symlink
from flows.manifest import replace_card, verify_release
from flows.parquet import write_parquet
from flows.review_figures import RATINGS_FILE, REVIEW, card_with, figures_of
from flows.review_items import CONFIGS, Items
from flows.review_store import Answer, Rater, ReviewStore
from flows.run_identity import CARD, DATA, LOCK
from flows.run_lock import RunLock
from flows.synthetic_rows import release_taxonomy
from validators.errors import InputError
from validators.problems import did_you_mean
from validators.rating_schemas import RATINGS, Perceived, Rating
from validators.schemas import to_table

if TYPE_CHECKING:
    from flows.review_items import Kind
    from flows.review_server import Review

ANSWERS: Final = "answers.sqlite"
ADDRESS: Final = "127.0.0.1"
PORT: Final = 8421
GRACE_S: Final = 3  # for answers in flight when the server is ended


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    path: Path
    ratings: int
    raters: int
    outdated: int
    """Answers to rows that the release holds no longer, or with another content; not in the table."""
    checks: dict[str, tuple[int, int]]
    """Rater -> checks answered and failed."""


@contextlib.contextmanager
def open_review(root: Path, kind: "Kind", *, items: int, seed: int, taxonomy: str | None = None) -> Iterator["Review"]:
    """Open a finished release for raters."""
    from flows.review_server import Review

    found = Items(root, kind)
    loaded = release_taxonomy(root, taxonomy)
    sampled = tuple(found.sample(items, seed))
    for item in sampled:
        loaded.label(item.intended_label)  # another taxonomy than the release's is told before anybody rates
    store = ReviewStore(root / REVIEW / ANSWERS)
    try:
        yield Review(found, sampled, loaded, seed, store)
    finally:
        store.close()


def serve(review: "Review", *, title: str, host: str | None, port: int, say: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C. Without a host it answers on loopback alone, elsewhere to who has the token."""
    import uvicorn

    from flows.review_server import make_app

    class Served(uvicorn.Server):
        """A server that does not raise the signal again when it has ended: Ctrl-C is how it is meant to end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    listening = _listen(host or ADDRESS, port)
    port = listening.getsockname()[1]
    token = None if host is None else secrets.token_urlsafe(24)
    name = f"[{host}]" if host and ":" in host else host or ADDRESS
    app = make_app(review, title=title, port=port, token=token)
    # the log of requests would hold the token
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", lifespan="off", timeout_graceful_shutdown=GRACE_S, ws="none"
    )
    server = Served(config)

    def end(signum: int, frame: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    say(f"Rate here: http://{name}:{port}/" + (f"?token={token}" if token else ""))
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        interrupts.reinstall()


def export_ratings(root: Path, *, leave_out: Collection[str] = (), taxonomy: str | None = None) -> Exported:
    """Write ratings.parquet from the answers, put their figures into the card, and have the manifest vouch for it."""
    if problems := verify_release(root):
        raise InputError(
            f"{root} is no finished release: {problems[0]}",
            where=str(root),
            next_step="build it first, or build again",
        )
    path = root / REVIEW / RATINGS_FILE
    answers = _answers(root)
    neutral = release_taxonomy(root, taxonomy).neutral
    raters = sorted({one.rater.name for one in answers})
    if unknown := sorted(set(leave_out) - set(raters)):
        raise InputError(
            f"nobody rated as {unknown[0]!r}. {did_you_mean(unknown[0], raters)}",
            where=str(root),
            next_step="name a rater as they named themselves",
        )
    kinds = {
        name: Items(root, name) for name, config in CONFIGS.items() if any((root / DATA / config).glob("*.parquet"))
    }
    ratings = [
        rating
        for one in answers
        if (rating := _rating(one, kinds, neutral=neutral, counted=one.rater.name not in leave_out)) is not None
    ]
    refuse_symlink(path.parent)
    lock = RunLock(root / LOCK)  # a build must not write card and manifest meanwhile
    try:
        write_parquet(path, to_table(ratings, RATINGS))
        old = (root / CARD).read_text(encoding="utf-8")
        new = card_with(old, figures_of(root))
        if new != old:
            replace_card(root, new.encode())
    finally:
        lock.release()
    checks = {
        name: (sum(one.presentation == "check" for one in given), sum(one.failed for one in given))
        for name in raters
        if (given := [one for one in ratings if one.rater == name])
    }
    return Exported(path, len(ratings), len(checks), len(answers) - len(ratings), checks)


def _answers(root: Path) -> list[Answer]:
    path = root / REVIEW / ANSWERS
    answers: list[Answer] = []
    if path.is_file():
        store = ReviewStore(path)
        try:
            answers = store.answers()
        finally:
            store.close()
    if not answers:
        raise InputError(
            "nobody has rated this release", where=str(root), next_step=f"have it rated first: affectory review {root}"
        )
    return answers


def _rating(answer: Answer, kinds: dict["Kind", Items], *, neutral: str | None, counted: bool) -> Rating | None:
    """An answer beside what it was about; None where the release does not hold that any more."""
    place, kind = answer.place, _kind(answer.rater)
    item = kinds[kind].find(place.item_id, place.turn, place.item_sha256) if kind in kinds else None
    if item is None and place.presentation != "check":
        return None
    # a release may intend to express nothing: whoever perceives none then perceives what was intended
    labels = answer.labels or ([(neutral, 1)] if neutral else [])
    return Rating(
        rater=answer.rater.name,
        kind=kind,
        position=answer.position,
        presentation=place.presentation,
        item_id=place.item_id,
        turn=place.turn,
        item_sha256=place.item_sha256,
        labels=tuple(Perceived(label=label, intensity=intensity) for label, intensity in labels),
        asked_label=place.asked_label,
        intended_label=item.intended_label if item else None,
        perceived_label=item.perceived_label if item else None,
        counted=counted,
        answered_ms=answer.answered_ms,
    )


def _kind(rater: Rater) -> "Kind":
    for kind in CONFIGS:
        if kind == rater.kind:
            return kind
    raise InputError(f"answers of an unknown kind {rater.kind!r}", next_step="use the version that made the file")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # from here on a browser that was told the address is not refused
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror}",
            where="--host and --port",
            next_step="choose another --port (0 takes a free one), or end the server that has it",
        ) from error
    return listening
