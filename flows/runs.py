# SPDX-License-Identifier: Apache-2.0
"""A run at work: its recipe, its folder, its models, and how rows of a shard are made side by side."""

import importlib.metadata
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TypeVar

from flows.dialogue_plans import wanted_of
from flows.dialogue_role import OWN
from flows.done_records import DoneRecord
from flows.earlier import NOTHING, Earlier, read_earlier
from flows.identity import identity
from flows.meter import EngineMeter, Load, StageTime
from flows.models import Models
from flows.progress import Progress
from flows.readings import ReaderUsage, StoredReader
from flows.recipe import Recipe, check_labels, load_taxonomy
from flows.replies import StoredChat
from flows.reply_store import ReplyStore, Spent
from flows.run_folder import RunFolder
from flows.run_identity import WORK
from flows.run_log import EVENTS, run_log, telling
from flows.run_opening import open_run
from flows.shards_at_once import at_once_by_stage
from flows.spending import Outcome, Spending, read_spending, write_spending
from flows.stopping import Stopping
from flows.stories import read_stories, stories_sha256
from flows.usage import Report, Usage
from flows.watch import Watch
from flows.worker_replies import Replies, gather_replies
from generators.chat import ChatReply, ChatRequest
from generators.conversations import Conversation, Slots, asked_at_once, side_by_side
from generators.draws import NOT_REALISED
from generators.prompts import DIALOGUE_PROMPTS, PROMPTS, prompts_sha256
from generators.shares import assign_splits
from validators.errors import DeferredError, GateError
from validators.readings import Reading
from validators.records import Split, Story
from validators.roles import Passage
from validators.schemas import SCHEMA_VERSION
from validators.taxonomy import Taxonomy, taxonomy_sha256

Row = TypeVar("Row")

REASON_ROWS = 40  # before that many rows one reason can lead by chance
SERVERS = "servers"  # below work: what servers of ours said


class StoppedError(Exception):
    """Work was given up because the run stops; the shard stays open."""


@dataclass(frozen=True)
class Inputs:
    """What a run reads before it does anything: all of it is known before the first model call."""

    recipe: Recipe
    taxonomy: Taxonomy
    stories: tuple[Story, ...]
    models: Models
    earlier: Earlier = NOTHING
    after: tuple[Path, ...] = ()
    """The folders of the earlier versions."""

    @property
    def identity(self) -> dict[str, str]:
        """All that decides the rows of this run."""
        return identity(
            self.recipe,
            taxonomy_sha256=taxonomy_sha256(self.taxonomy),
            stories_sha256=stories_sha256(self.stories),
            prompts_sha256=prompts_sha256(PROMPTS if self.recipe.dialogues is None else PROMPTS + DIALOGUE_PROMPTS),
            earlier_sha256=self.earlier.sha256,
            versions={
                "affectory": importlib.metadata.version("affectory"),
                "schema": str(SCHEMA_VERSION),
                **self.models.versions,
            },
        )


def read_inputs(recipe: Recipe, after: Sequence[Path] = ()) -> Inputs:
    """Read and check everything that a recipe names, in the order of cheapness; `after` are the earlier versions."""
    taxonomy = load_taxonomy(recipe)
    check_labels(recipe, taxonomy.names)
    if recipe.dialogues:
        wanted_of(recipe, recipe.dialogues, taxonomy)  # what cannot be had is told before anything is paid for
    models = Models.of(recipe)
    return Inputs(recipe, taxonomy, tuple(read_stories(recipe)), models, read_earlier(after), tuple(after))


@dataclass
class Run:
    """One run in this process. Its tables are on disk; this holds what all stages share."""

    inputs: Inputs
    folder: RunFolder
    store: Replies
    meter: EngineMeter
    progress: Progress
    watch: Watch = field(default_factory=Watch)
    has_release: bool = False
    """Whether the whole release was found in the folder, see `final_tables.is_finished`."""
    stopping: Stopping = field(default_factory=threading.Event)
    elsewhere: Usage = field(default_factory=Usage)
    """What workers of other processes reported."""
    times: dict[str, StageTime] = field(default_factory=dict)
    """What each stage took in this command."""
    stage_began_s: dict[str, float] = field(default_factory=dict)
    """Of the stages that have a budget, when this command came to them."""

    def __post_init__(self) -> None:
        self.recipe = self.inputs.recipe
        self.began_s = time.monotonic()
        models = self.inputs.models
        self.writers: dict[str, StoredChat] = {
            name: StoredChat(chat, self.store, self.meter)
            for name, chat in [(OWN, models.writer), *((name, other.chat) for name, other in models.others.items())]
        }
        self.writer = self.writers[OWN]
        self._before = read_spending(self.folder.work)
        # of all engines together, since a conversation that waits for one keeps no other busy
        self.n_slots = sum(writer.slots for writer in self.writers.values())
        self.slots = Slots(asked_at_once(self.n_slots))
        self.shards_at_once = at_once_by_stage(self.recipe, self.n_slots)
        self.outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()
        self._reader: StoredReader | None = None
        self._seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.taxonomy = self.inputs.taxonomy
        self.stories = {story.story_id: story for story in self.inputs.stories}

    def __repr__(self) -> str:
        return f"Run({self.folder.root.name})"

    @property
    def spent(self) -> Spent:
        """Calls and tokens that all commands of this run have paid for."""
        here, elsewhere = self.store.spent(), self.elsewhere.spent
        return Spent(*(one + other for one, other in zip(here, elsewhere, strict=True)))

    @property
    def usage(self) -> Usage:
        """What this command asked of the models, here and elsewhere."""
        reader = self._reader.usage if self._reader else ReaderUsage()
        here = Usage(reader=reader, costs=self.meter.costs, load=self.meter.load)
        return reduce(Usage.plus, (Usage(writer.usage) for writer in self.writers.values()), here.plus(self.elsewhere))

    @property
    def reader(self) -> StoredReader | None:
        """The blind reader, opened when first asked for; None where the recipe wants none."""
        with self._lock:
            if self._reader is None and self.recipe.reader.backend != "none":
                reader = self.inputs.models.open_reader(self.taxonomy, self.writer)
                self._reader = StoredReader(reader, self.store)
            return self._reader

    def close(self) -> None:
        """Close the reader and the writer, whichever were opened; the store is its opener's."""
        if self._reader is not None:
            self._reader.close()
        self.inputs.models.close()
        for writer in self.writers.values():
            writer.close()

    def splits_of(self, story_ids: Iterable[str]) -> dict[str, Split]:
        """Give each of the stories that feed rows to one split: the one of earlier versions, if they have it."""
        recipe = self.recipe.splits
        shares: dict[Split, float] = {"train": recipe.train, "validation": recipe.validation, "test": recipe.test}
        return assign_splits(list(story_ids), shares, seed=self.recipe.seed, settled=self.inputs.earlier.splits)

    @contextmanager
    def timed(self, stage: str, *, slots: int | None = None) -> Iterator[None]:
        """Measure the wall time of a stage and the load of its engines; `slots` are those of others, see `add_time`."""
        began_s, before = time.monotonic(), self.usage.load
        EVENTS.info("stage begins", extra={"stage": stage})
        try:
            yield
        finally:
            seen = (self.usage.load - before, self.n_slots) if slots is None else (Load(), slots)
            took = StageTime(time.monotonic() - began_s, *seen)
            self.add_time(stage, took)
            self.watch.show(stage)
            EVENTS.info("stage ends", extra={"stage": stage, **self.times[stage].figures()})
            write_spending(self.folder.work, self.spending)

    def add_time(self, stage: str, took: StageTime) -> None:
        """Add what a stage took, or the load of engines that the meter does not see, such as worker processes."""
        with self._lock:  # two stages may be at work; who reads `times` gets them as they were
            self.times = {**self.times, stage: self.times.get(stage, StageTime()) + took}

    @property
    def spending(self) -> Spending:
        """What all commands of this run have cost up to now."""
        usage, wall_s = self.usage, time.monotonic() - self.began_s
        return self._before + Spending(self.times, usage.costs, usage.reader.passages, wall_s, 1, self.outcomes)

    def side_by_side(self, stage: str, conversations: Iterable[Conversation[Row]]) -> Iterator[tuple[int, Row]]:
        """Advance conversations on writer and reader; a `DeferredError` at the end if a row got no answer."""
        unanswered: list[DeferredError] = []
        begun = self._until_stopped(conversations)
        for position, row in side_by_side(begun, self._submit, self.slots, self._read):
            if self.stopping.is_set():
                raise StoppedError(stage)
            if isinstance(row, DeferredError):
                unanswered.append(row)
                continue
            yield position, row
        if self.stopping.is_set():
            raise StoppedError(stage)
        if unanswered:
            raise DeferredError(
                f"{len(unanswered)} requests of stage {stage} got no answer: {unanswered[0].what}",
                where=unanswered[0].where,
                next_step="run the same command again: what was answered is stored, and only the rest is asked",
            )

    def licence_of(self, writer: str) -> str:
        """The licence of the weights of a writer, named as in the recipe."""
        models = self.inputs.models
        return models.writer_licence if writer == OWN else models.others[writer].licence

    def _submit(self, request: ChatRequest) -> Future[ChatReply]:
        return self.writers[request.writer or OWN].submit(request)

    def _read(self, passage: Passage) -> Future[Reading]:
        """Have a passage read; only what is read opens the reader."""
        if self.reader is None:
            raise TypeError("something is to be read, and the recipe has no reader")
        return self.reader.submit(passage)

    def advance(self, stage: str, *, kept: int, rejected: int) -> None:
        """Tell the progress, with the rate of the engine so far."""
        usages = [writer.usage for writer in self.writers.values()]
        tokens, busy_s = sum(usage.completion_tokens for usage in usages), max(usage.busy_s for usage in usages)
        rate = f"{tokens / busy_s:.0f} tokens/s" if busy_s > 1 else ""
        self.progress.advance(stage, kept=kept, rejected=rejected, note=rate)

    def hear(self, stage: str, report: Report) -> None:
        """Count what a worker of another process did, and tell the progress, with the rate of all workers."""
        with self._lock:
            self.elsewhere = self.elsewhere.plus(report.usage)
        rate = self.elsewhere.writer.completion_tokens / max(1.0, time.monotonic() - self.began_s)
        self.progress.advance(stage, kept=report.kept, rejected=report.rejected, note=f"{rate:.0f} tokens/s")

    def stop_if_systematic(self, record: DoneRecord) -> None:
        """Stop the run when one reason takes too large a share of a stage so far: the prompt or the model is broken."""
        # what the reader misses is its own figure with its own floor, and says as much of it as of the writer
        reasons = {reason: count for reason, count in record.reasons.items() if reason != NOT_REALISED}
        with self._lock:
            self._seen[record.stage].update({"planned": record.planned, **reasons})
            seen = self._seen[record.stage]
            planned = seen["planned"]
            reason, count = max(
                ((reason, count) for reason, count in seen.items() if reason != "planned"),
                key=lambda item: item[1],
                default=("", 0),
            )
        most = self.recipe.gates.max_reason_share
        if planned >= REASON_ROWS and count > most * planned:
            raise GateError(
                f"{count} of {planned} rows were rejected for '{reason}' ({count / planned:.0%}): "
                f"more than gates.max_reason_share ({most:.0%}).",
                where=str(self.folder.rejected_path(record.stage, record.index)),
                next_step="read the rejected rows there; mend the prompt or the model, or raise gates.max_reason_share",
            )

    def _until_stopped(self, conversations: Iterable[Conversation[Row]]) -> Iterator[Conversation[Row]]:
        for conversation in conversations:
            if self.stopping.is_set():
                return
            yield conversation


@contextmanager
def open_run_of(inputs: Inputs, root: Path, progress: Progress, *, rebuild: bool = False) -> Iterator[Run]:
    """Open the folder, the reply store and (late) the writer of a run; all are closed at the end."""
    recipe, storage = inputs.recipe, inputs.recipe.storage or ""
    folder = open_run(root, identity=inputs.identity, recipe=recipe.canonical(), rebuild=rebuild, storage=storage)
    with folder:
        if rebuild:
            write_spending(folder.work, Spending())  # what the rows that are gone had cost says nothing of the new ones
        with ReplyStore(folder.replies) as store:
            gather_replies(store, folder)
            inputs.models.servers.attend(folder.root / WORK / SERVERS, progress.tell)
            run = Run(inputs, folder, store, EngineMeter(), progress)
            try:
                with run_log(folder.work), telling(root.name, folder.fingerprint):
                    yield run
            finally:
                run.close()
                gather_replies(store, folder)
