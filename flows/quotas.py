# SPDX-License-Identifier: Apache-2.0
"""Quotas filled in rounds: plan what is missing, write and read it, drop what repeats, count, and go on.

    work/plan/part-00003.parquet        what round 3 asks for; written before it is worked on
    work/utterances/part-*.parquet      its shards, numbered on from those of round 2
    work/duplicates/part-00003.parquet  which of its rows repeat no other

What a round brought is read from disk, so a resumed run stands where the killed one stood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from flows.done_records import DoneRecord
from flows.duplicates import STAGE as DUPLICATES
from flows.duplicates import drop_duplicates
from flows.runs import Run
from flows.shards import MakeAll, Shards, budget_spent
from flows.utterances import STAGE as UTTERANCES
from flows.utterances import make_utterances
from generators.plans import plan_round
from generators.quotas import Quotas, Standing, missing_rows
from validators.diversity import repeated_openings, repeated_phrases
from validators.errors import InputError
from validators.records import Evidence, PlannedUtterance, Split
from validators.schemas import PLANNED, REJECTED, to_records, to_table

STAGE = "plan"
MOST_WORN = 6  # openings and phrases named in a prompt; a small model takes no notice of a longer list


@dataclass(frozen=True)
class Round:
    """One round: its number, its first shard, and the rows that it asks for."""

    number: int
    first_shard: int
    rows: tuple[PlannedUtterance, ...]

    def shards(self, shard_rows: int) -> dict[int, tuple[PlannedUtterance, ...]]:
        """The rows by shard, as their ids say."""
        starts = range(0, len(self.rows), shard_rows)
        return {self.first_shard + n: self.rows[start : start + shard_rows] for n, start in enumerate(starts)}


@dataclass(frozen=True)
class Filled:
    """How far the quotas were filled, and why not further."""

    rounds: tuple[Round, ...]
    targets: dict[str, int]
    accepted: dict[str, int]
    short: dict[str, str]
    """Label -> why it has fewer rows than wanted."""
    shard_rows: int

    @property
    def rows(self) -> list[PlannedUtterance]:
        """All rows that were written, in the order of their ids."""
        return [row for one in self.rounds for row in one.rows]

    @property
    def shards(self) -> list[int]:
        """The numbers of all shards."""
        return [index for one in self.rounds for index in one.shards(self.shard_rows)]


def fill_quotas(run: Run, evidence: Sequence[Evidence], make_all: MakeAll, *, go_on: bool) -> Filled:
    """Fill the quotas round by round, until they are met, nothing more can be asked, or the budget is spent.

    Without `go_on` only the rounds that lie on disk are read.
    """
    quotas = quotas_of(run)
    story_splits = run.splits_of(pair.story_id for pair in evidence)
    _check_feedable(run, quotas, evidence)
    rounds: list[Round] = []
    tally = _Tally()
    spent = ""
    while True:
        spent = spent or budget_spent(run, UTTERANCES)
        first_shard = sum(len(one.shards(run.recipe.shard_rows)) for one in rounds)
        rows = _stored(run, len(rounds))
        if not rows and go_on and not spent:
            rows = plan_round(
                evidence,
                story_splits,
                quotas,
                tally.standing(run.recipe.loop.worn_out),
                seed=run.recipe.seed,
                first_shard=first_shard,
                shard_rows=run.recipe.shard_rows,
                earlier=run.inputs.earlier.pairs,
            )
            if rows:
                _store(run, len(rounds), rows)
        if not rows:
            break
        worked, cut = _work(run, Round(len(rounds), first_shard, rows), make_all)
        spent = spent or cut
        if worked.rows:
            rounds.append(worked)
            tally.add(run, worked)
    standing = tally.standing(worn_out=None)
    accepted = {label: standing.accepted_of(label).total() for label in quotas.targets}
    short = {
        label: _why(label, spent, evidence, quotas, standing)
        for label, target in quotas.targets.items()
        if accepted[label] < target
    }
    return Filled(tuple(rounds), quotas.targets, accepted, short, run.recipe.shard_rows)


def quotas_of(run: Run) -> Quotas:
    """The quotas of a recipe."""
    recipe, splits = run.recipe.utterances, run.recipe.splits
    weights = dict(recipe.labels) if recipe.labels else dict.fromkeys(run.taxonomy.names, 1.0)
    neutral = run.taxonomy.neutral
    if recipe.neutral_share is not None and neutral is not None:
        others = sum(weight for label, weight in weights.items() if label != neutral)
        weights[neutral] = others * recipe.neutral_share / (1 - recipe.neutral_share)
        if weights[neutral] == 0:
            del weights[neutral]
    shares: dict[Split, float] = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return Quotas(
        rows=recipe.rows,
        contextual_rows=recipe.rows if recipe.contextual_rows is None else recipe.contextual_rows,
        weights=weights,
        splits={split: share for split, share in shares.items() if share > 0},
        neutral=neutral,
        intensities=recipe.intensities,
        tries=recipe.tries,
    )


def _check_feedable(run: Run, quotas: Quotas, evidence: Sequence[Evidence]) -> None:
    """Refuse quotas of which no section can feed any."""
    fed = {pair.label for pair in evidence} | ({quotas.neutral} if evidence and quotas.neutral else set())
    if not fed & {label for label, target in quotas.targets.items() if target}:
        raise InputError(
            "No section gives cause for any of the emotions that the recipe asks for.",
            where=str(run.folder.work / "evidence"),
            next_step=f"ask for labels that the stories feed ({', '.join(sorted(fed))}), or for more sections in "
            "stories.sections",
        )


def _stored(run: Run, number: int) -> tuple[PlannedUtterance, ...]:
    """The rows that a round was planned with; none where it was not planned yet, or was given up before it began."""
    if run.folder.done(STAGE, number) is None:
        return ()
    return tuple(to_records(run.folder.read_shard(STAGE, number)[0], PlannedUtterance))


def _store(run: Run, number: int, rows: Sequence[PlannedUtterance]) -> None:
    """Write the plan of a round before it is worked on, so that a resumed run asks for the same rows."""
    table = to_table(rows, PLANNED)
    run.folder.write_shard(STAGE, number, planned=len(rows), kept=table, rejected=REJECTED.empty_table())


def _work(run: Run, planned: Round, make_all: MakeAll) -> tuple[Round, str]:
    """Write and deduplicate the rows of a round; where the budget ends in it, what was not begun is not planned."""
    shards = planned.shards(run.recipe.shard_rows)
    done = sum(len(rows) for index, rows in shards.items() if run.folder.done_path(UTTERANCES, index).exists())
    run.progress.begin(UTTERANCES, len(planned.rows), done)
    work = Shards(
        UTTERANCES,
        list(shards),
        done=lambda index: run.folder.done(UTTERANCES, index),
        make=lambda index: make_utterances(run, index, shards[index]),
        budgeted=True,
    )
    with run.timed(UTTERANCES):
        spent = make_all(run, work)
    if spent:
        # no shard is refused after a later one was begun, so what was made is a beginning of the round
        made = [index for index in shards if run.folder.done(UTTERANCES, index)]
        planned = Round(planned.number, planned.first_shard, tuple(row for index in made for row in shards[index]))
        _store(run, planned.number, planned.rows)
    if planned.rows:
        indexes = list(planned.shards(run.recipe.shard_rows))
        run.progress.begin(DUPLICATES, sum(record.kept for record in _records(run, indexes)))
        work = Shards(
            DUPLICATES,
            [planned.number],
            done=lambda number: run.folder.done(DUPLICATES, number),
            make=lambda number: drop_duplicates(run, number, indexes),
        )
        with run.timed(DUPLICATES):
            make_all(run, work)
    return planned, spent


def _records(run: Run, indexes: Sequence[int]) -> list[DoneRecord]:
    return [record for index in indexes if (record := run.folder.done(UTTERANCES, index))]


@dataclass
class _Tally:
    """What the rounds so far brought, read from disk round by round: each shard once, however many rounds follow."""

    written: list[PlannedUtterance] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    contextual: int = 0
    texts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, run: Run, done: Round) -> None:
        """Read what a round brought."""
        unique = set(run.folder.read_kept(DUPLICATES, done.number, ["row_id"]).column("row_id").to_pylist())
        columns = ["utterance_id", "intended", "text", "context", "realised"]
        self.written += done.rows
        for index in done.shards(run.recipe.shard_rows):
            for row in run.folder.read_kept(UTTERANCES, index, columns).to_pylist():
                if row["utterance_id"] in unique and row["realised"] is not False:
                    self.accepted.add(row["utterance_id"])
                    self.contextual += row["context"] is not None
                    self.texts.setdefault(row["intended"]["label"], []).append(row["text"])

    def standing(self, worn_out: int | None) -> Standing:
        """How far the rounds have come; phrases of so many rows are worn out, which takes a look at every text."""
        return Standing(
            written=tuple(self.written),
            accepted=frozenset(self.accepted),
            contextual=self.contextual,
            worn={} if worn_out is None else {label: _worn(found, worn_out) for label, found in self.texts.items()},
        )


def _worn(texts: Sequence[str], at_least: int) -> tuple[str, ...]:
    """Openings, then phrases, that so many texts share: what the writer is told not to use."""
    openings = repeated_openings(texts, at_least=at_least, most=MOST_WORN)
    phrases = repeated_phrases(texts, at_least=at_least, most=MOST_WORN)
    return tuple(dict.fromkeys((*openings, *phrases)))[:MOST_WORN]


def _why(label: str, spent: str, evidence: Sequence[Evidence], quotas: Quotas, standing: Standing) -> str:
    """Say why a label has fewer rows than wanted."""
    tried = standing.written_of[label]
    if label != quotas.neutral and all(pair.label != label for pair in evidence):
        return "no section gives cause for it"
    if spent:
        return spent
    if missing_rows(quotas, standing)[label]:
        return f"every pair with evidence was asked as often as it may be ({tried} rows written)"
    return f"{tried} rows were written, {quotas.tries} for each wanted, and too few passed"
