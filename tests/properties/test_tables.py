# SPDX-License-Identifier: Apache-2.0
"""Whatever a record may hold comes back from a table and from a file, and what is damaged is noticed."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.parquet import read_parquet, split_by_bytes, write_parquet
from flows.sealed import SealError, canonical_json, seal, unseal
from tests.flows.shards import evidence
from validators.records import Evidence, Feeling, Intended, Perceived, Record, RejectedRow, Story, Utterance
from validators.schemas import EVIDENCE, REJECTED, STORIES, UTTERANCES, to_records, to_table

ANY = st.text(max_size=20)
TEXT = st.text(min_size=1, max_size=20)
COUNT = st.integers(0, 2**63 - 1)
SEED = st.integers(0, 2**31 - 1)
STORY_ID = st.from_regex(r"s-[0-9a-f]{12}", fullmatch=True)
PERCEIVED = st.none() | st.lists(
    st.builds(Perceived, label=TEXT, score=st.floats(0, 1, allow_nan=False)), max_size=3
).map(tuple)

RECORDS: dict[type[Record], tuple[pa.Schema, st.SearchStrategy[Record]]] = {
    Utterance: (
        UTTERANCES,
        st.builds(
            Utterance,
            utterance_id=st.from_regex(r"u-[0-9]{5}-[0-9]{4}", fullmatch=True),
            story_id=STORY_ID,
            title=TEXT,
            section=COUNT,
            character=TEXT,
            text=TEXT,
            context=st.none() | TEXT,
            text_ambiguous=st.none() | TEXT,
            language=TEXT,
            intended=st.builds(Intended, label=TEXT, intensity=st.sampled_from([None, 1, 2]), cause=ANY),
            manner=st.none() | ANY,
            canonical_label=st.none() | ANY,
            perceived=PERCEIVED,
            perceived_in_context=PERCEIVED,
            perceived_ambiguous=PERCEIVED,
            realised=st.none() | st.booleans(),
            attempts=st.integers(1, 99),
            writer=TEXT,
            writer_licence=TEXT,
            reader=st.none() | ANY,
            prompt_sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
            seed=SEED,
            split=st.sampled_from(["train", "validation", "test"]),
            source=TEXT,
            source_licence=TEXT,
        ),
    ),
    RejectedRow: (
        REJECTED,
        st.builds(
            RejectedRow,
            planned_id=TEXT,
            stage=TEXT,
            gate=TEXT,
            reason=TEXT,
            detail=ANY,
            label=ANY,
            attempt=COUNT,
            seed=st.integers(-(2**63), 2**63 - 1),
            reply=ANY,
        ),
    ),
    Evidence: (
        EVIDENCE,
        st.builds(
            Evidence,
            story_id=STORY_ID,
            section=COUNT,
            character=TEXT,
            label=TEXT,
            cause=TEXT,
            origin=st.sampled_from(["given", "model"]),
        ),
    ),
    Story: (
        STORIES,
        st.builds(
            Story,
            story_id=STORY_ID,
            title=TEXT,
            source=TEXT,
            licence=TEXT,
            language=TEXT,
            sections=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
            feelings=st.lists(st.builds(Feeling, section=COUNT, character=TEXT, label=TEXT, cause=ANY), max_size=3).map(
                tuple
            ),
        ),
    ),
}
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("record", RECORDS)
def test_records_survive_table_and_file(record: type[Record]) -> None:
    schema, strategy = RECORDS[record]

    @FEW
    @given(st.lists(strategy, max_size=4))
    def survives(rows: list[Record]) -> None:
        table = to_table(rows, schema)
        assert to_records(table, record) == rows
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "part-00000.parquet"
            written = write_parquet(path, table)
            read = read_parquet(path)
            assert read.schema.equals(schema, check_metadata=True)
            assert to_records(read, record) == rows
            assert write_parquet(path, read) == written  # same rows, same bytes

    survives()


@FEW
@given(st.integers(0, 60), st.integers(1, 4000))
def test_parts_of_a_table_are_the_table(n_rows: int, limit: int) -> None:
    table = to_table(evidence(n_rows), EVIDENCE)
    parts = list(split_by_bytes(table, limit))
    assert pa.concat_tables(parts).equals(table)
    assert all(part.num_rows <= 1 or part.nbytes <= limit for part in parts)


JSON = st.dictionaries(ANY, st.recursive(st.none() | st.booleans() | st.integers() | ANY, st.lists, max_leaves=5))


@FEW
@given(JSON, st.data())
def test_a_seal_shows_every_changed_byte(content: dict[str, object], data: st.DataObject) -> None:
    sealed = seal(content)
    assert unseal(sealed) == content
    at = data.draw(st.integers(0, len(sealed) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = sealed[:at] + bytes([sealed[at] ^ (1 << bit)]) + sealed[at + 1 :]
    for damaged in (flipped, sealed[:at], sealed[:at] + sealed[at:] * 2):
        with pytest.raises(SealError):
            unseal(damaged)


@FEW
@given(JSON)
def test_canonical_json_does_not_depend_on_the_order_of_keys(content: dict[str, object]) -> None:
    assert canonical_json(dict(reversed(content.items()))) == canonical_json(content)
