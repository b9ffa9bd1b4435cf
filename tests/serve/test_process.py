"""The server as a process: slow clients, a new model file under load, and the end."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
from served_models import ROW, array_model, table_model

BODY = json.dumps({"records": [ROW]})
HEADERS = {"content-type": "application/json"}


@contextmanager
def server(path, *options, **environment):
    """Run `mlpax serve`, and yield the process and the port."""
    command = [sys.executable, "-m", "mlpax", "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://[\d.]+:(\d+)", line)
        assert found, (line, process.stderr.read() if process.poll() is not None else "")
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.safetensors"
    table_model().save(path)
    return path


def ask(connection, path="/predict", body=BODY, method="POST"):
    connection.request(method, path, body, HEADERS)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def ask_once(port, body=BODY):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        return ask(connection, body=body)


def raw(port, sent, seconds=10):
    """Return all that the server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        sock.sendall(sent)
        found = b""
        while part := sock.recv(65536):
            found += part
    return found


def load(port, stop, statuses, predictions=None):
    """Send requests over one connection until the server closes it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.is_set():
        connection.request("POST", "/predict", BODY, HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        statuses.append(answer.status)
        if predictions is not None:
            predictions.append(json.loads(text)["predictions"][0]["prediction"])
        if answer.will_close:
            return
    connection.close()


@contextmanager
def under_load(port, clients=4, predictions=None):
    """Yield the statuses of the requests that clients send meanwhile. A client that gets no answer raises."""
    stop, statuses, faults = threading.Event(), [], []

    def run():
        try:
            load(port, stop, statuses, predictions)
        except Exception as error:
            faults.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_sigterm_answers_all_that_was_sent(model_file):
    with server(model_file) as (process, port):
        with under_load(port) as statuses:
            while len(statuses) < 50:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert {*statuses} == {200}
        assert process.stderr.read() == ""


def counted(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


def wait_for(port, name, value):
    end = time.monotonic() + 10
    while counted(port, name) < value:
        assert time.monotonic() < end, name
        time.sleep(0.05)


def test_a_new_model_is_taken_up_without_a_lost_request(model_file, tmp_path):
    taken, refused = (f'mlpax_model_loads_total{{outcome="{how}"}}' for how in ("taken", "refused"))
    predictions, new = [], tmp_path / "new.safetensors"
    with server(model_file) as (process, port):
        with under_load(port, predictions=predictions) as statuses:
            for k in (1, 2):
                table_model(100.0 + 10 * k).save(new)
                os.replace(new, model_file)
                wait_for(port, taken, k)
            model_file.write_bytes(model_file.read_bytes()[:-4])  # damaged
            wait_for(port, refused, 1)
            array_model().save(model_file)  # of another kind
            wait_for(port, refused, 2)
            model_file.unlink()
            time.sleep(1.1)
        assert {*statuses} == {200}
        assert {*predictions} == {103.0, 113.0, 123.0}
        assert predictions[-1] == 123.0
        process.terminate()
        assert process.wait(10) == 0
        said = process.stderr.read().splitlines()
        parts = (
            "took up the new model",
            "took up the new model",
            "is damaged",
            "the new model takes an array",
        )
        for line, part in zip(said, parts, strict=True):
            assert part in line
        assert all("the old one stays" in line for line in said[2:])


def test_slow_clients_are_told_and_the_service_goes_on(model_file):
    with server(model_file, "--timeout", "0.3") as (_, port):
        head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        for sent, said in (
            (b"GET /hea", b"the headers took longer"),
            (b"", b"the headers took longer"),
            (head + b"content-length: 100\r\n\r\n{", b"the body took longer"),
            (head + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"the body took longer"),
        ):
            found = raw(port, sent)
            assert found.startswith(b"HTTP/1.1 408 "), found
            assert said in found
            assert b"connection: close" in found
            json.loads(found.partition(b"\r\n\r\n")[2])
        assert ask_once(port)[0] == 200


def test_what_is_no_http(model_file):
    with server(model_file) as (_, port):
        for sent, status in (
            (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
            (b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 20_000, b"431"),
            (b"GET /" + b"a" * 200_000, b"431"),
            (b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", b"400"),
            (b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n"
             b"content-type: application/json\r\nexpect: 100-continue\r\n\r\n", b"413"),
        ):  # fmt: skip
            found = raw(port, sent)
            assert found.startswith(b"HTTP/1.1 " + status), found
            assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["message"]
        assert ask_once(port)[0] == 200


def test_a_request_behind_another_takes_no_answer_away(model_file):
    """A client sends a large request, and half of the next head, in one piece."""
    body = BODY.encode().ljust(100_000)
    head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    whole = head + b"content-length: %d\r\n" % len(body)
    with server(model_file, "--timeout", "0.5") as (_, port):
        for last, statuses in (
            (b"connection: close\r\n\r\n" + body, [b"200", b"200"]),
            (b"a: b\r\n" * 20_000, [b"200", b"431"]),
            (b"no header\r\n\r\n", [b"200", b"400"]),
            (b"", [b"200", b"408"]),
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                sock.sendall(whole + b"\r\n" + body + whole[:40])
                sock.sendall(whole[40:] + last)
                found = b""
                while part := sock.recv(65536):
                    found += part
            assert re.findall(rb"HTTP/1.1 (\d+)", found) == statuses


def test_a_body_that_is_too_large_is_answered_before_it_is_sent(model_file):
    """The client sends all of it, and then reads the error: no reset."""
    with server(model_file, "--max-body", "1KB") as (_, port):
        status, answer = ask_once(port, "x" * 1_500_000)
        assert status == 413
        assert answer["error"]["message"].startswith("the body is larger than 1000 bytes")


def run(*arguments, **environment):
    command = [sys.executable, "-m", "mlpax", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)


def test_what_cannot_be_served_is_one_line(model_file, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(model_file, "--port", port)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(
            rf"mlpax: cannot listen on 127.0.0.1 port {port}: .*in use; choose .*\n", done.stderr
        )
    text = tmp_path / "text.safetensors"
    text.write_text("no model")
    for path, part in (
        (text, "no model file"),
        (tmp_path / "..", "no model at"),
        (tmp_path / "none", "no model at"),
    ):
        done = run(path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert part in done.stderr
    for options, part in (
        (("--host", "300.1.1.1"), "cannot listen on 300.1.1.1"),
        (("--log", "xml"), "json"),
        (("--max-body", "ten"), "10MB"),
        (("--cors", "example.org"), "https://example.org"),
        (("--cors", "*"), "https://example.org"),
        (("--cors", "https://example.org/page"), "no origin"),
        (("--allow-host", "http://x:80"), "the name alone"),
        (("--allow-host", "x:80"), "the name alone"),
    ):
        done = run(model_file, *options)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert part in done.stderr


def test_a_token_that_no_client_could_send(model_file):
    done = run(model_file, MLPAX_TOKEN="a\nb")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mlpax: MLPAX_TOKEN holds characters that no header can bear; ")


def test_names_and_origins_are_compared_as_browsers_write_them(model_file):
    """The name in any case; the server's own address without an option; an origin with a slash at its end."""
    options = ("--host", "0.0.0.0", "--allow-host", "Models.Example", "--cors", "https://Example.org/")
    with server(model_file, *options, MLPAX_TOKEN=" a secret\n") as (_, port):
        for host, status in (("models.EXAMPLE:80", 200), ("127.0.0.1", 200), ("evil.example", 400)):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                token = {"authorization": "Bearer a secret"}
                connection.request(
                    "GET", "/model", headers={"host": host, "origin": "https://example.org"} | token
                )
                answer = connection.getresponse()
                assert answer.status == status
                assert answer.getheader("access-control-allow-origin") == "https://example.org"
                text = answer.read().decode()
        assert "one of 127.0.0.1, ::1, localhost, models.example, or allow" in text


def test_another_host_is_warned_of_and_the_token_is_asked_for(model_file):
    command = [
        sys.executable,
        "-m",
        "mlpax",
        "serve",
        str(model_file),
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--log",
        "json",
    ]
    environment = os.environ | {"MLPAX_TOKEN": "a secret"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        port = int(re.search(r"http://0.0.0.0:(\d+)", process.stdout.readline())[1])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        with closing(connection):
            assert ask(connection)[0] == 401
            connection.request("POST", "/predict", BODY, HEADERS | {"authorization": "Bearer a secret"})
            assert connection.getresponse().status == 200
        process.terminate()
        _, said = process.communicate()
    lines = [json.loads(line) for line in said.splitlines()]
    assert "whoever reaches" in lines[0]["event"]
    assert [line["status"] for line in lines[1:]] == [401, 200]
    assert "secret" not in said
