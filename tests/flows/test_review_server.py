# SPDX-License-Identifier: Apache-2.0
"""The review server, from outside: what it sends, whom it answers, and what survives it."""

import json
import re
import socket
import threading

import pytest

from flows.review_guard import HEADERS
from tests.flows.builds import command, rows
from tests.flows.reviews import served
from tests.flows.test_review import HOSTILE, KINDS, built, recipe, release  # noqa: F401 - fixtures

pytestmark = pytest.mark.server


def texts_of(root, kind):
    """All that a rater may see of the items of a kind, as the page gets it."""
    if kind == "text":
        return [{"text": row["text"]} for row in rows(root)]
    if kind == "audio":
        return [{"sound": True}]
    return [
        {
            "turns": [
                {"speaker": row["speakers"][one["speaker"]]["name"], "text": one["text"]} for one in row["turns"][:n]
            ]
        }
        for row in rows(root, "data/dialogues/*.parquet")
        for n in range(1, len(row["turns"]) + 1)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rater_gets_the_item_and_nothing_that_tells_of_it(release, kind):  # noqa: F811
    secrets = {
        str(value)
        for config in ("utterances", "dialogues", "clips")
        for row in rows(release, f"data/{config}/*.parquet")
        for value in (*(row[key] for key in row if key.endswith("_id")), (row.get("intended") or {}).get("cause"))
        if value
    }
    secrets |= {row["context"] for row in rows(release) if row["context"]}
    with served(release, "--kind", kind, "--items", "12") as server:
        allowed = texts_of(release, kind)
        sent = [server.send("GET", path).read().decode() for path in ("/", "/review.js", "/review.css")]
        key = server.begin("ann")
        state = server.get(f"/raters/{key}")
        assert set(state) == {"rater", "places", "answered"}
        sounds = []
        for place in state["places"]:
            reply = server.send("GET", f"/raters/{key}/items/{place}")
            body = reply.read().decode()
            sent += [body, str(reply.getheaders())]
            item = json.loads(body)
            assert set(item) == {"content", "answer"}
            if set(item["content"]) != {"check"}:
                assert item["content"] in allowed
            if kind == "audio" and "sound" in item["content"]:
                reply = server.send("GET", f"/raters/{key}/sounds/{place}")
                sounds.append(reply.read())
                sent.append(str(reply.getheaders()))
                assert reply.getheader("Content-Type") == "audio/flac"
        told = "\n".join(sent)
        assert not [secret for secret in secrets if secret in told]
        # what stands in the page is the same for all items, so that no order or mark tells of one
        assert not re.findall(r"intended|perceived_label|realised|trajectory|inner_state", told)
        if kind == "audio":
            there = {row["audio"]["bytes"] for row in rows(release, "data/clips/*.parquet")}
            assert len(sounds) >= 12
            assert set(sounds) <= there


def test_sound_is_served_by_range(release):  # noqa: F811
    with served(release, "--kind", "audio", "--items", "3") as server:
        key = server.begin("ann")
        place = next(
            place
            for place in server.get(f"/raters/{key}")["places"]
            if "sound" in server.get(f"/raters/{key}/items/{place}")["content"]
        )
        path = f"/raters/{key}/sounds/{place}"
        whole = server.send("GET", path).read()
        for asked, expected in {
            "bytes=0-": (206, whole),
            "bytes=4-9": (206, whole[4:10]),
            "bytes=-5": (206, whole[-5:]),
            f"bytes=10-{len(whole) * 2}": (206, whole[10:]),
            "bytes=1-2,4-5": (200, whole),
            "lines=1-2": (200, whole),
            f"bytes={len(whole)}-": (416, b""),
        }.items():
            reply = server.send("GET", path, headers={"Range": asked})
            assert (reply.status, reply.read()) == expected, asked


def test_on_loopback_it_answers_to_its_own_page_alone(release):  # noqa: F811
    with served(release) as server:
        assert server.url.startswith("http://127.0.0.1:")
        for host in ("evil.example", f"evil.example:{server.address.rpartition(':')[2]}", "127.0.0.1", ""):
            assert server.send("GET", "/", headers={"Host": host}).status in {400, 421}, host
        for origin in ("http://evil.example", "null", "", f"http://{server.address}.evil.example"):
            reply = server.send("POST", "/raters", {"rater": "ann"}, headers={"Origin": origin})
            assert reply.status == 403, origin
        reply = server.send("GET", "/")
        assert reply.status == 200
        assert {name: reply.getheader(name) for name in HEADERS} == HEADERS
        assert "'unsafe" not in HEADERS["Content-Security-Policy"]
        page = reply.read().decode()
        assert not re.findall(r"\son\w+=|style=|https?://", page)
        assert "</script>" in page
        assert re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.DOTALL) == [""]
        port = int(server.address.rpartition(":")[2])
        with socket.socket() as other:
            other.settimeout(2)
            # 127.0.0.2 is this machine too, and not the address that we listen on
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_elsewhere_it_wants_the_token(release):  # noqa: F811
    with served(release, "--host", "127.0.0.1") as server:
        token = server.url.partition("?token=")[2]
        assert len(token) >= 32
        assert server.send("GET", "/").status == 401
        assert server.send("GET", "/review.js").status == 401
        assert server.send("POST", "/raters", {"rater": "ann"}).status == 401
        assert server.send("GET", f"/?token={token[:-1]}").status == 401
        assert server.send("GET", "/?token=").status == 401
        assert server.send("GET", f"/raters/x?token={token}").status == 401
        entered = server.send("GET", f"/?token={token}")
        cookie = entered.getheader("Set-Cookie") or ""
        assert entered.status == 200
        assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
        assert token not in entered.read().decode()
        mine = {"Cookie": cookie.partition(";")[0]}
        assert server.send("GET", "/", headers=mine).status == 200
        assert server.send("POST", "/raters", {"rater": "ann"}, headers=mine).status == 200
        assert server.send("POST", "/raters", {"rater": "a"}, headers=mine | {"Origin": "http://evil"}).status == 403
        server.end()
        assert token not in "".join(path.read_text(errors="replace") for path in (release / "review").iterdir())


def test_what_was_answered_survives_the_server(release):  # noqa: F811
    with served(release, "--items", "5") as server:
        key = server.begin("ann")
        first, second = server.get(f"/raters/{key}")["places"][:2]
        labels = [["joy", 2], ["fear", 0]]
        assert server.send("POST", f"/raters/{key}/items/{first}", {"labels": labels}).status == 200
        assert server.send("POST", f"/raters/{key}/items/{second}", {"labels": []}).status == 200
        server.process.kill()
        server.process.join()
    with served(release, "--items", "5") as server:
        key = server.begin("ann")
        assert server.get(f"/raters/{key}")["answered"] == [first, second]
        assert server.get(f"/raters/{key}/items/{first}")["answer"] == labels
        assert server.get(f"/raters/{key}/items/{second}")["answer"] == []
        said = server.end()
    assert "2 answers of 1 raters are stored" in said


def test_raters_at_once_do_not_mix(release):  # noqa: F811
    names = [f"rater {n}" for n in range(6)]
    failures = []
    with served(release, "--items", "6") as server:

        def rate(name, label):
            try:
                key = server.begin(name)
                for place in server.get(f"/raters/{key}")["places"]:
                    reply = server.send("POST", f"/raters/{key}/items/{place}", {"labels": [[label, 1]]})
                    assert reply.status == 200, reply.read()
                for place in server.get(f"/raters/{key}")["places"]:
                    assert server.get(f"/raters/{key}/items/{place}")["answer"] == [[label, 1]]
            except AssertionError as error:
                failures.append(error)

        labels = ("joy", "fear", "anger", "grief", "pride", "love")
        threads = [threading.Thread(target=rate, args=pair) for pair in zip(names, labels, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert f"{6 * 8} answers of 6 raters" in server.end()


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\u202eb", "a\x00b", "\ud800", 7, None, ["ann"]])
def test_a_name_is_one_printable_line(release, name):  # noqa: F811
    with served(release, "--items", "2") as server:
        assert server.send("POST", "/raters", {"rater": name}).status == 400
        assert server.send("POST", "/raters", {"rater": HOSTILE}).status == 200


def test_an_answer_that_does_not_fit_is_refused(release):  # noqa: F811
    with served(release, "--items", "2") as server:
        key = server.begin("ann")
        place = server.get(f"/raters/{key}")["places"][0]
        path = f"/raters/{key}/items/{place}"
        six = [[label, 1] for label in ("joy", "fear", "anger", "grief", "pride", "love")]
        bodies: tuple[object, ...] = (
            b"no json", b"[" * 5000, b"x" * 20_000, [], {}, {"labels": None}, {"labels": six}, {"labels": [["joi", 1]]},
            {"labels": [["neutral", 1]]},
            {"labels": [["joy", 3]]}, {"labels": [["joy", True]]}, {"labels": [["joy", None]]}, {"labels": [["joy"]]},
            {"labels": [["joy", 1], ["joy", 2]]}, {"labels": [[["joy"], 1]]},
        )  # fmt: skip
        for body in bodies:
            assert server.send("POST", path, body).status in {400, 413}, body
        assert server.get(path)["answer"] is None
        assert server.send("POST", f"/raters/{key}/items/999", {"labels": []}).status == 404
        assert server.send("GET", f"/raters/{key}x").status == 401


def test_a_port_that_is_taken_is_told(release):  # noqa: F811
    with served(release) as server:
        ran = command("review", release, "--port", server.address.rpartition(":")[2])
    assert ran.returncode == 2
    assert "cannot listen" in ran.stderr
    assert "--port" in ran.stderr
