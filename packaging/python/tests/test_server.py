"""The server outside of pytest's fixtures."""

import http.client
import os
import signal
import statistics
import subprocess
import sys
import time
from importlib import metadata

import pytest

from fake_openai import FakeOpenAI, FakeOpenAIError, binary


def is_up(url):
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()


def is_down_soon(url):
    """Waits until nothing answers; the end of a process takes a moment on a busy machine."""
    until = time.monotonic() + 20
    while is_up(url):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_a_server_runs_while_its_context_does():
    with FakeOpenAI("--rpm", "100") as server:
        assert is_up(server.url)
        assert "100" in server.log()
        assert [request.path for request in server.requests] == ["/health"]
    assert not is_up(server.url)
    server.stop()


def test_a_wrong_flag_is_an_error_with_the_programs_remedy():
    with pytest.raises(FakeOpenAIError, match="did you mean `--rpm`"):
        FakeOpenAI("--rmp", "100")


def test_the_callers_environment_does_not_choose_the_port(monkeypatch):
    monkeypatch.setenv("FAKE_OPENAI_PORT", "1")
    monkeypatch.setenv("FAKE_OPENAI_RPM", "7")
    with FakeOpenAI() as server:
        assert is_up(server.url) and not server.url.endswith(":1")
        assert "limit     7" in server.log()


def test_a_token_of_the_admin_api_is_used():
    with FakeOpenAI("--admin-token", "long-enough-token") as server:
        server.fault("503")
        assert server.requests == []
        assert FakeOpenAI.at(server.url, "long-enough-token").requests == []
        with pytest.raises(FakeOpenAIError):
            FakeOpenAI.at(server.url).requests


@pytest.mark.skipif(os.name != "posix", reason="the server is watched by a shell")
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "pass"])
def test_the_server_ends_with_the_process(end):
    program = f"import os, signal; from fake_openai import FakeOpenAI; s = FakeOpenAI(); print(s.url, flush=True); {end}"
    run = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert run.stdout.startswith("http://") and is_down_soon(run.stdout.strip())


def test_the_module_is_the_program():
    by_module = subprocess.run([sys.executable, "-m", "fake_openai", "--version"], capture_output=True, text=True)
    by_path = subprocess.run([binary(), "--version"], capture_output=True, text=True)
    assert by_module.stdout == by_path.stdout == f"fake-openai {metadata.version('fake-openai')}\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_module_gets_the_signals_of_the_program():
    command = [sys.executable, "-m", "fake_openai", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline().startswith("http://")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    process.stdout.close()


def test_the_time_of_a_start_is_printed(record_property, capsys):
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        server = FakeOpenAI()
        times.append((time.perf_counter() - begin) * 1000)
        server.stop()
    with capsys.disabled():
        print(f"\npython: start of a server: median {statistics.median(times):.1f} ms, least {min(times):.1f} ms")
