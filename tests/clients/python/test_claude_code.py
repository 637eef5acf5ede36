"""Claude Code itself: it does a task of several turns with its own tools, whichever model answers. Left out where it is not
installed."""

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from asks import KEY
from conftest import Proxy
from messages_asks import script

TABLE, SDK = "agents", "Claude Code"
PROGRAM = os.environ.get("CLAUDE_CODE")
MODELS = [
    "anthropic--claude-4.5-sonnet",
    "claude-sonnet-4-5",
    "anthropic--claude-4.8-opus",
    "gpt-4o",
    "gpt-5",
    "gpt-5.3-codex",
    "anthropic--gpt-5",
    "gemini-2.5-flash",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "mistralai--mistral-medium-instruct",
    "deepseek-ai--deepseek-r1",
    "cohere--command-a-reasoning",
    "orchestration/gpt-4o",
    "orchestration/anthropic--claude-4.5-sonnet",
]
SECONDS_MAX = 90
feature = pytest.mark.feature
pytestmark = pytest.mark.skipif(not PROGRAM, reason="Claude Code is not installed")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    proxy = Proxy(tmp_path_factory.mktemp("agents"), "--log-format", "json")
    yield proxy
    proxy.stop()


@pytest.fixture
def claude(logged, tmp_path):
    """Runs it in a home of its own; gives its exit code and the lines of JSON that it wrote."""
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()

    def claude(prompt, model, *options):
        return run(prompt, model, logged.root_url, home, folder, *options)

    claude.folder = folder
    return claude


def run(prompt, model, url, home, folder, *options):
    strange = ("ANTHROPIC_", "CLAUDE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    env |= {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_SMALL_FAST_MODEL": "gpt-4o",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "gpt-4o",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    command = [PROGRAM, "-p", prompt, "--model", model, "--allowedTools", "Write,Read,Edit,Bash"]
    command += ["--permission-mode", "acceptEdits", "--output-format", "stream-json", "--verbose", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"not done after {SECONDS_MAX} s:\n{out[-3000:]}\n{err[-3000:]}")
    assert not err, err
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def asked_of(proxy):
    """The requests to the models so far."""
    lines = [json.loads(line) for line in proxy.settled_log().splitlines()]
    requests = [line["request"] for line in lines if "request" in line]
    return [request for request in requests if request["path"].startswith("/v1/messages")]


@feature("task of five turns")
def test_task(claude, logged, model):
    path = str(claude.folder / "notes.txt")
    turns = [
        [("Write", {"file_path": path, "content": 'one\n"two" – ü\n'})],
        [("Read", {"file_path": path}), ("Bash", {"command": "wc -l <notes.txt"})],
        [("Edit", {"file_path": path, "old_string": '"two"', "new_string": "three\tand {four}"})],
        [("Bash", {"command": "cat notes.txt"})],
    ]
    before = len(asked_of(logged))
    code, lines = claude(f"Take notes. [[demo {script(*turns)}]]", model)
    last = lines[-1]
    assert code == 0 and not last["is_error"], last["result"]
    assert Path(path).read_text() == "one\nthree\tand {four} – ü\n"
    assert "The tool says: one\nthree\tand {four} – ü" in last["result"]
    assert last["num_turns"] >= 5 and not last["permission_denials"]
    assert last["usage"]["input_tokens"] > 0 and last["usage"]["output_tokens"] > 0
    blocks = [b for line in lines if line["type"] == "assistant" for b in line["message"]["content"]]
    calls = [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    assert [name for name, _ in calls] == [name for turn in turns for name, _ in turn]
    assert [r["status"] for r in asked_of(logged)[before:]] == [200] * 5


@feature("goes on in the next prompt")
@pytest.mark.parametrize("model", ["anthropic--claude-4.5-sonnet", "gpt-5", "gemini-3.5-flash"])
def test_continue(claude, model):
    turns = [[("Bash", {"command": "echo first"})]]
    code, lines = claude(f"Begin. [[demo {script(*turns)}]]", model)
    assert code == 0 and "first" in lines[-1]["result"]
    turns = [[("Bash", {"command": "echo second"})]]
    code, lines = claude(f"Go on. [[demo {script(*turns)}]]", model, "--continue")
    assert code == 0 and "second" in lines[-1]["result"]


@feature("overloaded, then repeated")
@pytest.mark.parametrize("model", ["anthropic--claude-4.5-sonnet", "gpt-4o"])
def test_overloaded(claude, model):
    marker = f"[[demo status=529 retry_after=1 times=1 key={uuid.uuid4()}]]"
    code, lines = claude(f"Hello {marker}", model)
    assert code == 0 and "Hello" in lines[-1]["result"] and not lines[-1]["is_error"]


@feature("a broken stream, then repeated")
@pytest.mark.parametrize("model", ["anthropic--claude-4.8-opus", "gpt-4o"])
def test_broken_stream(claude, model):
    marker = f"[[demo cut_after=6 times=1 key={uuid.uuid4()}]]"
    code, lines = claude(f"Hello {marker}", model)
    assert code == 0 and not lines[-1]["is_error"] and "simulated SAP AI Core" in lines[-1]["result"]


@feature("error is shown")
@pytest.mark.parametrize("model", ["gpt-0", "gpt-4o"])
def test_errors(claude, model):
    code, lines = claude("Hello [[demo status=400 body=no-such-thing]]", model)
    last = lines[-1]
    assert code != 0 and last["is_error"]
    assert ("gpt-0" if model == "gpt-0" else "no-such-thing") in last["result"]
