# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from flows.readings import BATCH, StoredReader
from flows.reply_store import ReplyStore
from generators.chat import ChatReply
from generators.readers.echo import EchoReader
from validators.errors import ModelError
from validators.roles import Passage

LABELS = ("joy", "fear", "neutral")


class Counting(EchoReader):
    """Counts what it is given, and can be held up."""

    def __init__(self) -> None:
        super().__init__(LABELS)
        self.batches: list[list[Passage]] = []
        self.go = threading.Event()
        self.go.set()
        self.closed = False

    def read(self, passages):
        self.go.wait(10)
        self.batches.append(list(passages))
        return super().read(passages)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store(tmp_path: Path):
    with ReplyStore(tmp_path / "replies.sqlite") as opened:
        yield opened


def results(futures: list[Future]) -> list:
    return [future.result(timeout=10) for future in futures]


def test_each_passage_gets_its_own_reading_and_is_read_once(store):
    reader = Counting()
    stored = StoredReader(reader, store)
    passages = [Passage(f"line {n % 7}", "context" if n % 2 else None) for n in range(40)]
    readings = results([stored.submit(passage) for passage in passages])
    alone = EchoReader(LABELS)
    for passage, reading in zip(passages, readings, strict=True):
        assert reading.scores == pytest.approx(alone.read([passage])[0], abs=1e-4)
    read = [passage for batch in reader.batches for passage in batch]
    assert len(read) == len(set(read)) == len(set(passages))
    stored.close()
    assert reader.closed


def test_what_waits_is_read_together_in_bounded_batches(store):
    reader = Counting()
    reader.go.clear()
    stored = StoredReader(reader, store)
    futures = [stored.submit(Passage(f"line {n}")) for n in range(3 * BATCH)]
    reader.go.set()
    results(futures)
    assert max(map(len, reader.batches)) <= BATCH
    assert len(reader.batches) <= 5
    stored.close()


def test_a_reading_outlives_the_process_and_is_not_made_again(store):
    first = StoredReader(Counting(), store)
    reading = first.submit(Passage("line")).result(timeout=10)
    first.close()

    class Other(Counting):
        def read(self, passages):
            raise AssertionError("it was read before")

    again = StoredReader(Other(), store)
    assert again.submit(Passage("line")).result(timeout=10) == reading
    assert again.usage.stored == 1
    again.close()


def test_another_reader_or_context_is_another_reading(store):
    stored = StoredReader(Counting(), store)
    one, other = results([stored.submit(Passage("line")), stored.submit(Passage("line", "it rains"))])
    assert one.scores != other.scores
    stored.close()
    reader = Counting()
    reader.model = "another"
    StoredReader(reader, store).submit(Passage("line")).result(timeout=10)
    assert reader.batches == [[Passage("line")]]


def test_readings_cost_no_calls_and_no_tokens(store):
    stored = StoredReader(Counting(), store)
    stored.submit(Passage("line")).result(timeout=10)
    store.put("a", ChatReply("x", "stop", 7, 3))
    assert store.spent().tokens == 10
    assert store.spent().calls == 1
    stored.close()


@pytest.mark.parametrize("scores", [np.zeros((2, 2)), np.zeros((1, 3, 1))])
def test_scores_of_another_shape_are_an_error_for_all_who_wait(store, scores):
    class Wrong(Counting):
        def read(self, passages):
            return scores

    stored = StoredReader(Wrong(), store)
    with pytest.raises(ModelError, match="shape"):
        stored.submit(Passage("line")).result(timeout=10)
    stored.close()


def test_a_failure_reaches_who_waits_and_the_next_passage_is_read(store):
    class Once(Counting):
        def read(self, passages):
            if passages[0].text == "bad":
                raise ModelError("it fell over")
            return super().read(passages)

    stored = StoredReader(Once(), store)
    with pytest.raises(ModelError, match="fell over"):
        stored.submit(Passage("bad")).result(timeout=10)
    assert stored.submit(Passage("good")).result(timeout=10).labels == LABELS
    stored.close()
