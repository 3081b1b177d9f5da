"""`jaxhp watch`: one page, for this machine alone, read and never written, and renewed as rounds finish."""

import html
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser
from recorded import SPACE, made, trial

import jaxhp as hp
from jaxhp.cli import main
from jaxhp.report.page import live_page
from jaxhp.report.serving import Pages, Server
from jaxhp.store.files import write_json
from jaxhp.store.ledger import Ledger, Round
from jaxhp.trials import Status, Trials

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def serve():
    """Serves a directory; every server ends with the test."""
    servers = []

    def start(directory) -> Server:
        servers.append(Server(Pages(directory, live_page)))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(server, method="GET", path="/", host=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": host or server.hosts[0]} | headers).items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def finish_round(directory):
    """What a search does meanwhile: the round that has begun is trained, or another like it."""
    with Ledger(directory, write=True) as ledger:
        asked = ledger.rounds()[-1]
        trials = Trials.of(
            trial(int(i), config, unit, 9, Status.COMPLETE, "accuracy")
            for i, config, unit in zip(asked.trials, SPACE.configs(np.asarray(asked.unit)), asked.unit, strict=True)
        )
        if asked.scores is not None:
            asked = asked._replace(number=asked.number + 1)
            ledger.begin(asked, trials)
        ledger.finish(asked.number, trials, trials.score, 1.0)


def test_it_serves_the_page_and_tells_whether_there_is_a_newer_one(serve, tmp_path):
    directory = made(tmp_path / "run")
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    server = serve(directory)
    answer, page = ask(server)
    assert answer.status == 200
    assert "2 rounds finished, round 3 under way" in page
    assert "connect-src 'self'" in html.unescape(page)
    assert answer.headers["Access-Control-Allow-Origin"] is None
    tag = answer.headers["ETag"]
    same, body = ask(server, If_None_Match=tag)
    assert (same.status, body) == (304, "")
    head, body = ask(server, "HEAD")
    assert (head.status, body, head.headers["Content-Length"]) == (200, "", str(len(page.encode())))
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before
    finish_round(directory)
    newer, page = ask(server, If_None_Match=tag)
    assert newer.status == 200
    assert "3 rounds finished" in page
    shutil.rmtree(directory)
    gone, page = ask(server, If_None_Match=tag)
    assert gone.status == 200
    assert "expected a run directory, found no manifest.json in it" in page


def test_it_answers_this_machine_alone_and_nothing_but_the_page(serve, tmp_path):
    server = serve(made(tmp_path / "run"))
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, host=f"localhost:{server.server_port}")[0].status == 200
    foreign = [f"evil.example:{server.server_port}", "127.0.0.1", f"127.0.0.1:{server.server_port + 1}"]
    for host in [*foreign, f"0.0.0.0:{server.server_port}", f"{server.hosts[0]}.evil.example", ""]:
        answer, body = ask(server, Host=host, host="x")
        assert (answer.status, "accuracy" in body) == (403, False), host
    assert ask(server, host="x", Host=None)[0].status == 403
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        answer, _ = ask(server, method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    for path in ("/ledger.sqlite", "/../manifest.json", "/%2e%2e/lock", "/favicon.ico"):
        assert ask(server, path=path)[0].status == 404


def test_it_works_before_the_first_round_is_finished_and_before_there_is_anything(serve, tmp_path):
    begun = made(tmp_path / "<b>begun")
    with Ledger(begun, write=True) as ledger:
        assert ledger.rounds()
    server = serve(begun)
    os.unlink(begun / "manifest.json")  # as in the first moments
    answer, page = ask(server)
    assert answer.status == 200
    assert "<h1>&lt;b&gt;begun</h1>" in page
    assert "This page renews itself." in page
    space = hp.Space(lr=hp.Uniform(0, 1))
    other = tmp_path / "first"
    with Ledger(other, write=True) as ledger:
        write_json(other / "manifest.json", {"metric": "error", "mode": "min", "space": space.to_json()})
        ids = np.arange(2, dtype=np.int32)
        drafts = Trials.of([hp.Trial(i, {"lr": 0.5 * i}) for i in range(2)])
        ledger.begin(Round(0, 1, np.zeros((2, 1), np.float32), ids * 0 - 1, ids), drafts)
    assert "none: no round is finished" in ask(serve(other))[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}"], "jaxhp: {0}: expected a run directory, found no search in it\n"),
        (["{0}/none"], "jaxhp: {0}/none: expected a run directory, found no search in it\n"),
        (["{0}/run", "--port", "70000"], "jaxhp: --port: expected a number from 0 to 65535, got 70000\n"),
        (
            ["{0}/run", "--port", "{1}"],
            "jaxhp: [Errno 98] --port: expected a free port, got {1}: Address already in use\n",
        ),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(arguments, said, serve, tmp_path, capsys):
    server = serve(made(tmp_path / "run"))
    names = str(tmp_path), str(server.server_port)
    assert main(["watch", *(argument.format(*names) for argument in arguments)]) == 2
    assert capsys.readouterr().err == said.format(*names)


@pytest.mark.slow
def test_the_command_prints_where_it_is_and_ends_with_ctrl_c(tmp_path):
    made(tmp_path / "run")
    command = [sys.executable, "-m", "jaxhp", "watch", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is started in the background ignores Ctrl-C
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        port = int(line.split("/")[2].split(":")[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == "\n"


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium")
def test_in_a_browser_it_renews_itself_and_leaves_open_what_is_open(serve, tmp_path):
    directory = made(tmp_path / "run")
    for _ in range(12):  # so many that their table is folded
        finish_round(directory)
    server = serve(directory)
    with Browser() as browser:
        browser.open(server.url)
        assert "14 rounds finished" in browser.run("document.body.innerText")
        heading = "[...document.querySelectorAll('th button')].find(b => b.textContent === 'lr')"
        browser.run(f"{heading}.click(); {heading}.click()")
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
        opened = browser.run("document.querySelectorAll('details[open]').length")
        finish_round(directory)
        browser.until("document.body.innerText.includes('15 rounds finished')")
        rows = "[...document.querySelectorAll('[aria-label=\"Ranked trials\"] tbody tr')]"
        cells = browser.run(f"{rows}.map(row => Number(row.cells[{heading}.parentElement.cellIndex].dataset.value))")
        assert len(cells) == 29
        assert cells == sorted(cells, reverse=True)
        assert browser.run(f"{heading}.parentElement.getAttribute('aria-sort')") == "descending"
        assert browser.run("document.querySelectorAll('details[open]').length") == opened > 0
        assert browser.run("document.getElementById('live').textContent").startswith("live, renewed at ")
        assert not [m for m in browser.messages("Log.entryAdded") if m["entry"]["level"] == "error"]
        for scheme in ("light", "dark"):
            browser.open(server.url, width=390, height=844, scheme=scheme)
            assert browser.run("document.documentElement.scrollWidth") <= 390
        server.shutdown()
        server.server_close()
        browser.until("document.getElementById('live').textContent.startsWith('not live')")
