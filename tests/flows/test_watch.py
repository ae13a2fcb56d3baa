# SPDX-License-Identifier: Apache-2.0
import json
import logging
from collections import Counter
from datetime import datetime

import pytest

from flows.run_log import EVENTS, log_to_terminal, run_log
from flows.watch import Watch, table_of
from tests.flows.builds import rows, run_build, write_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")

KEY = "sk-" + "a1" * 16


@pytest.fixture(scope="module")
def finished(tmp_path_factory, prefect_server):
    folder = tmp_path_factory.mktemp("watched")
    output = folder / "watched_run"
    return output, run_build(write_recipe(folder), output, "writer.options={faults: {garbage: 0.2}}")


def lines(output):
    return [json.loads(line) for line in (output / "work" / "run.log").read_text().splitlines()]


def test_the_log_tells_of_every_stage_and_shard_with_time_and_counts(finished):
    output, release = finished
    events = lines(output)
    assert all(datetime.fromisoformat(event["time"]) and event["level"] for event in events)
    shards = [event for event in events if event["message"] == "shard done" and event["stage"] == "utterances"]
    assert sum(event["planned"] for event in shards) == release.planned
    assert all(event["planned"] == event["kept"] + event["rejected"] for event in shards)
    assert len({event["shard"] for event in shards}) == len(shards)
    ended = {event["stage"] for event in events if event["message"] == "stage ends"}
    assert {"evidence", "utterances", "duplicates", "release"} <= ended
    assert [event["message"] for event in (events[0], events[-1])] == ["run begins", "run ends"]


def test_the_log_holds_no_text_of_a_row(finished):
    output, _ = finished
    text = (output / "work" / "run.log").read_text()
    assert rows(output)
    assert not [row for row in rows(output) if row["text"] in text or row["intended"]["cause"] in text]


def test_a_run_that_stops_says_why_in_its_log(tmp_path):
    recipe = write_recipe(tmp_path, rows=12, extra="gates: {min_words: 44, max_words: 45, max_reason_share: 1.0}\n")
    with pytest.raises(Exception, match="kept_rows"):
        run_build(recipe, tmp_path / "out")
    last = lines(tmp_path / "out")[-1]
    assert (last["message"], last["error"]) == ("run stops", "GateError")


def test_keys_are_blotted_out_of_log_and_terminal(tmp_path, capsys):
    with run_log(tmp_path):
        log_to_terminal(logging.WARNING)
        try:
            logging.getLogger("flows.anything").warning("the server said: bad key %s", KEY)
            EVENTS.info("a server", extra={"stage": KEY})
        finally:
            for name in ("affectory", "flows", "generators", "validators"):
                logger = logging.getLogger(name)
                logger.propagate = name != "affectory"
                logger.setLevel(logging.INFO if name == "affectory" else logging.NOTSET)
                for handler in logger.handlers[:]:
                    logger.removeHandler(handler)
    assert KEY not in (tmp_path / "run.log").read_text()
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2
    told = capsys.readouterr().err
    assert "the server said" in told
    assert KEY not in told
    assert "a server (" not in told  # quiet without -v


def test_prefect_shows_a_table_for_each_stage_that_ends_as_the_release_says(finished):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.prefect_board import artifact_key  # Prefect reads where its server is when it is imported

    output, release = finished
    key = ArtifactFilterKey(any_=[artifact_key(output.name, "utterances")])
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    assert len(found) == 1  # one, brought up to date
    shown = {row["what"]: row["rows"] for row in json.loads(str(found[0].data))}
    assert shown["planned"] == release.planned
    reasons = Counter(row["reason"] for row in rows(output, "work/utterances/rejected-*.parquet"))
    assert {name: count for name, count in shown.items() if name.startswith("rejected")} == {
        f"rejected: {reason}": count for reason, count in reasons.items()
    }
    assert found[0].flow_run_id
    assert found[0].task_run_id is None


def test_a_board_that_fails_does_not_stop_the_run(caplog):
    import httpx

    from flows.prefect_board import PrefectBoard

    class Gone:
        def create_artifact(self, artifact):
            raise httpx.ConnectError("gone")

    board = PrefectBoard(Gone(), None, "run")  # type: ignore[arg-type]
    board.show("utterances", "title", [])
    board.show("utterances", "title", [])
    assert [record.message for record in caplog.records].count(
        "Prefect's server takes no tables (ConnectError); the run goes on"
    ) == 1


def test_keys_of_tables_are_what_prefect_allows():
    from flows.prefect_board import artifact_key

    assert artifact_key("My run.v2", "dialogue_duplicates") == "my-run-v2-dialogue-duplicates"


def test_a_table_has_the_commonest_reason_first():
    counts = Counter({"shards": 2, "planned": 10, "kept": 4, "rejected: b": 4, "rejected: a": 2})
    assert [(row["what"], row["share"]) for row in table_of(counts)] == [
        ("shards", ""),
        ("planned", "100.0%"),
        ("kept", "40.0%"),
        ("rejected: b", "40.0%"),
        ("rejected: a", "20.0%"),
    ]


def test_nothing_is_hung_up_without_a_board():
    Watch().show("utterances")


def test_the_summary_tells_how_busy_the_engine_was_and_how_true_the_plan(finished):
    output, release = finished
    summary = json.loads((output / "work" / "summary.json").read_text())
    stage = summary["stages"]["utterances"]
    assert 0 < stage["engine_share"] <= 1
    assert 0 < stage["mean_slots"] <= stage["slots"] == 8
    figures = summary["plan"]["figures"]
    assert figures["rows_written"]["actual"] == release.planned
    assert figures["model_calls"]["actual"] == release.usage["calls"]
    assert "predicted" not in (output / "README.md").read_text()
