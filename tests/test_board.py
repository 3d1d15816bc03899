"""The board of a room: nothing is lost, nothing gets through that shouldn't, and no training waits for it."""

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from board_load import crowd

from babygpt.course import lab
from babygpt.course.checks import core
from babygpt.data import Corpus
from babygpt.harness import reports
from babygpt.harness.reports import Membership, Reporter, send
from babygpt.workshop.board import commands, room, server
from babygpt.workshop.board.room import Refused, Room

CODE = "K7QX2M"


@pytest.fixture
def board():
    """A board that listens; its room and its address."""
    the_room, started = Room(CODE), threading.Event()
    loop = asyncio.new_event_loop()
    port = 0

    async def start():
        nonlocal port
        _, port = server.listen(the_room, "127.0.0.1", 0)
        started.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()), daemon=True)
    thread.start()
    assert started.wait(10)
    yield the_room, f"http://127.0.0.1:{port}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.fixture(autouse=True)
def nobody_has_joined(tmp_path, monkeypatch):
    for module in (reports, commands):
        monkeypatch.setattr(module, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.delenv(reports.VARIABLE, raising=False)
    monkeypatch.setattr(reports, "_reporter", None)


def status_of(address, body=b"{}", timeout=5):
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        commands.main(list(arguments))
    return ended.value.code


def wait_for(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_thirty_people_report_at_once_and_nothing_is_lost(board):
    the_room, address = board
    slowest = crowd(address, CODE, people=30, rounds=6, pause=0.15)
    state = the_room.state()
    assert len(state["people"]) == 30
    for person in state["people"]:
        assert [point[0] for point in person["points"]] == list(range(6))
    assert slowest < 2.0  # seconds for a state while all report; board_load.py measures it on a quiet machine


def test_a_training_and_a_check_report_by_themselves_once_joined(board, monkeypatch, capsys):
    the_room, address = board
    assert run("join", f"{address}/{CODE}", "anna") == 0
    monkeypatch.setattr(lab, "FAST", True)
    corpus = Corpus.from_text("to be or not to be, that is the question. " * 40)
    lab.train(lab.new_model(5, vocab_size=corpus.tokenizer.vocab_size), corpus, max_iters=500)
    core.exercise("5.A")(lambda answer: None)(1)
    for _ in range(3):
        with pytest.raises(core.CheckFailed):
            core.exercise("5.2")(lambda answer: core.expect(False, "no"))(1)
    wait_for(lambda: the_room.people["anna"].failed.get("5.2") == 3)
    anna = the_room.state()["people"][0]
    assert anna["run"] == "v5" and [point[0] for point in anna["points"]] == [0, 5, 10]
    assert anna["lessons"] == {"5": 1} and anna["stuck"] == ["5.2", 3]
    assert run("hand") == 0 and the_room.people["anna"].hand
    assert run("hand", "--down") == 0 and not the_room.people["anna"].hand
    assert run("leave") == 0 and not the_room.people
    send("loss", run="v5", step=0, train=4.0, val=4.0)
    time.sleep(0.1)
    assert not the_room.people


def test_the_environment_variable_joins_as_well(board, monkeypatch):
    the_room, address = board
    monkeypatch.setenv(reports.VARIABLE, f"{address}/{CODE}#bert")
    send("check", exercise="1.1", right=True)
    wait_for(lambda: "bert" in the_room.people)


def test_without_joining_nothing_is_sent_and_no_thread_is_started():
    before = threading.active_count()
    send("loss", run="v5", step=0, train=4.0, val=4.0)
    assert reports._reporter is None and threading.active_count() == before


def test_a_wrong_code_is_refused_and_guessing_is_stopped(board, capsys):
    the_room, address = board
    assert run("join", f"{address}/WRONG1", "eve") == 2
    assert "this is not the code of the room" in capsys.readouterr().err
    assert [status_of(f"{address}/report", b'{"code": "x"}') for _ in range(server.GUESSES)][-1] == 429
    assert not the_room.people


def test_the_state_needs_the_code_and_the_page_shows_nothing_without_it(board):
    _, address = board
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{address}/WRONG1/state")
    page = urllib.request.urlopen(f"{address}/WRONG1")
    assert CODE not in page.read().decode("utf-8")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_body_of_10_mb_is_refused_and_does_no_harm(board):
    the_room, address = board
    report = {"code": CODE, "name": "eve", "kind": "join", "more": "x" * 10_000_000}  # right, but for its size
    try:
        assert status_of(f"{address}/report", json.dumps(report).encode()) == 400
    except (ConnectionError, urllib.error.URLError):
        pass  # the server may close before all has been sent
    assert status_of(f"{address}/report", json.dumps({"code": CODE, "name": "anna", "kind": "join"}).encode()) == 200
    assert list(the_room.people) == ["anna"]


def test_script_in_a_nickname_stays_text(board):
    the_room, address = board
    name = "<script>alert(1)</script>"
    assert run("join", f"{address}/{CODE}", name) == 0
    assert the_room.state()["people"][0]["name"] == name[: room.NAME]
    page = server.PAGE.read_text(encoding="utf-8")
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page and "document.write" not in page


def test_a_slow_client_and_one_that_dies_hold_nobody_up(board, monkeypatch):
    the_room, address = board
    port = int(address.rsplit(":", 1)[1])
    lame = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"POST /report HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        lame.append(connection)
    lame.pop().close()  # this one dies
    assert status_of(f"{address}/report", json.dumps({"code": CODE, "name": "anna", "kind": "join"}).encode(), 2) == 200
    assert list(the_room.people) == ["anna"]
    for connection in lame:
        connection.close()


@pytest.mark.parametrize(
    ("report", "status"),
    [
        ([], 403),
        ({"code": CODE}, 400),
        ({"code": CODE, "name": 3, "kind": "join"}, 400),
        ({"code": CODE, "name": "\n\t", "kind": "join"}, 400),
        ({"code": CODE, "name": "a", "kind": "dance"}, 400),
        ({"code": CODE, "name": "a", "kind": "loss", "run": "v5", "step": -1, "val": 2.0}, 400),
        ({"code": CODE, "name": "a", "kind": "loss", "run": "v5", "step": 1, "val": float("nan")}, 400),
        ({"code": CODE, "name": "a", "kind": "loss", "run": "v5", "step": True, "val": 2.0}, 400),
        ({"code": CODE, "name": "a", "kind": "check", "exercise": "<b>", "right": True}, 400),
    ],
)
def test_what_is_not_a_report_is_refused_and_nobody_enters_with_it(report, status):
    the_room = Room(CODE)
    with pytest.raises(Refused) as refused:
        the_room.take(report)
    assert refused.value.status == status and not the_room.people


def test_people_runs_points_and_reports_a_second_are_limited(monkeypatch):
    monkeypatch.setattr(room, "RATE", 3)
    the_room = Room(CODE)
    with pytest.raises(Refused, match="too many reports"):
        for step in range(room.RATE + 8):
            the_room.take({"code": CODE, "name": "a", "kind": "loss", "run": "v5", "step": step, "val": 2.0})
    monkeypatch.setattr(room, "PEOPLE", 1)
    with pytest.raises(Refused, match="the room is full"):
        the_room.take({"code": CODE, "name": "b", "kind": "join"})
    person = room.Person()
    for run_number in range(room.RUNS + 5):
        for step in range(room.POINTS + 5):
            the_room.add_loss(person, {"run": f"v{run_number}", "step": step, "val": 2.0})
    assert len(person.runs) <= room.RUNS and all(len(points) <= room.POINTS for points in person.runs.values())


def test_a_run_that_starts_again_starts_a_new_curve():
    the_room, person = Room(CODE), room.Person()
    for step in (0, 100, 200, 0, 100):
        the_room.add_loss(person, {"run": "v5", "step": step, "val": 2.0})
    assert [point[0] for point in person.runs["v5"]] == [0, 100]


def test_a_board_that_is_gone_or_never_answers_costs_a_training_no_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        reporter = Reporter(Membership(f"http://127.0.0.1:{silent.getsockname()[1]}", CODE, "anna"))
        start = time.perf_counter()
        for step in range(1000):
            reporter.put({"kind": "loss", "step": step})
        assert (time.perf_counter() - start) / 1000 < 0.001  # a thousandth of a second each, at most
        assert reporter.waiting.qsize() <= reports.WAITING
        reporter.reached = False


def test_a_board_that_does_not_exist_is_named_when_joining(capsys):
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    assert run("join", f"http://127.0.0.1:{port}/{CODE}", "anna") == 2
    assert f"there is no board at http://127.0.0.1:{port}" in capsys.readouterr().err
    assert run("join", "hello", "anna") == 2 and "is not the address of a board" in capsys.readouterr().err
    assert run("hand") == 2 and "you have not joined" in capsys.readouterr().err
    assert run("leave") == 0 and not reports.MEMBERSHIP.exists()


def test_a_port_that_is_taken_gets_one_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("--port", str(taken.getsockname()[1])) == 2
    assert "choose another --port" in capsys.readouterr().err


def test_by_default_only_this_laptop_is_served_and_nothing_is_stored():
    assert commands.Serve().host == "127.0.0.1" and commands.Serve().save is None


def test_a_board_takes_reports_from_many_threads(board):
    the_room, address = board
    membership = [Membership(address, CODE, f"p{n}") for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda m: m.post({"kind": "join"}), membership))
    assert len(the_room.people) == 10 and the_room.reports == 10
