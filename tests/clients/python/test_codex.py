"""Codex itself: it does a task of several turns with its own tools, whichever model answers. Left out where it is not
installed."""

import json
import os
import signal
import subprocess
import sys
import uuid
from base64 import b64decode
from pathlib import Path

import pytest
from asks import KEY, PIXEL
from conftest import Proxy
from messages_asks import script

TABLE, SDK = "codex", "Codex"
HERE = Path(__file__).parent
PROGRAM = os.environ.get("CODEX")
MODELS = [
    "gpt-5",
    "gpt-5.5",
    "gpt-5.3-codex",
    "gpt-4o",
    "anthropic--claude-4.5-sonnet",
    "anthropic--claude-4.8-opus",
    "gemini-2.5-flash",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "mistralai--mistral-medium-instruct",
    "deepseek-ai--deepseek-r1",
    "cohere--command-a-reasoning",
    "orchestration/gpt-4o",
]
# Of what runs differently: passed on, with a catalog entry of Codex's own, too, and converted.
SOME = ["gpt-5", "gpt-5.5", "anthropic--claude-4.5-sonnet", "gemini-3.5-flash"]
# Codex knows what they can do, gives them `apply_patch`, and `tool_search` for the rest.
KNOWN = {"gpt-5.5"}
# What OpenAI alone runs, and what AI Core refuses.
DROPPED = {"client_metadata", "tools[] of type web_search"}
CALLS = {"function_call", "custom_tool_call"}
RESUME = ("resume", "--last")
SECONDS_MAX = 60
CONFIG = """\
model = "gpt-5"
model_provider = "sap"
check_for_update_on_startup = false

[model_providers.sap]
name = "SAP AI Core"
base_url = "{url}"
env_key = "SAP_PROXY_KEY"
wire_api = "responses"
supports_websockets = false

[analytics]
enabled = false
"""
feature = pytest.mark.feature
pytestmark = pytest.mark.skipif(not PROGRAM, reason="Codex is not installed")


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    proxy = Proxy(tmp_path_factory.mktemp("codex"), "--log-format", "json")
    yield proxy
    proxy.stop()


@pytest.fixture
def codex(logged, tmp_path):
    return Codex(logged, tmp_path)


class Codex:
    """The program in a home and a folder of its own."""

    def __init__(self, proxy, root):
        self.proxy, self.home, self.folder = proxy, root / "home", root / "work"
        self.home.mkdir()
        self.folder.mkdir()
        (self.home / "config.toml").write_text(CONFIG.format(url=proxy.base_url))

    def __call__(self, prompt, model, *options, command=()):
        """Its exit code, the events that it wrote, and what the proxy was asked."""
        since = len(self.proxy.log())
        strange = ("OPENAI_", "CODEX", "ANTHROPIC_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        env |= {"HOME": str(self.home), "CODEX_HOME": str(self.home), "SAP_PROXY_KEY": KEY}
        line = [PROGRAM, "exec", *command, "--json", "--model", model, "--skip-git-repo-check"]
        line += ["--dangerously-bypass-approvals-and-sandbox", *options, "--", prompt]
        process = subprocess.Popen(
            line,
            cwd=self.folder,
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
        return process.returncode, [json.loads(line) for line in out.splitlines()], asked_of(self.proxy, since)

    def items(self):
        """What the last session says that was sent and came back."""
        return [line["payload"] for line in self._session() if line["type"] == "response_item"]

    def kinds(self):
        return {line["type"] for line in self._session()}

    def _session(self):
        last = max(self.home.glob("sessions/**/rollout-*.jsonl"), key=lambda path: path.stat().st_mtime)
        return [json.loads(line) for line in last.read_text().splitlines()]


def asked_of(proxy, since=0):
    """The requests to the models from a place in the log on."""
    lines = [json.loads(line) for line in proxy.settled_log()[since:].splitlines()]
    requests = [line["request"] for line in lines if "request" in line]
    return [request for request in requests if request["path"].startswith("/v1/responses")]


def well(asked, count=None, *also_dropped):
    """All were answered, and nothing was left out that matters."""
    assert count in (None, len(asked)) and {request["status"] for request in asked} == {200}, asked
    dropped = {name for request in asked for name in request["dropped"]}
    assert DROPPED.union(also_dropped) >= dropped, dropped
    return True


def done(events, kind):
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item for item in items if item["type"] == kind]


def said(events):
    return done(events, "agent_message")[-1]["text"]


def patch(*lines):
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def run(command):
    return ("exec_command", {"cmd": command, "login": False})


def edits(model, text):
    """The patch by the tool that Codex offers for this model."""
    if model in KNOWN:
        return ("apply_patch", {"input": text})
    return run(f"apply_patch <<'END'\n{text}END")


@feature("task of five turns")
def test_task(codex, model):
    written = patch("*** Add File: notes.sh", "+echo one", "+echo '\"two\" – ü'")
    changed = patch("*** Update File: notes.sh", "@@", " echo one", "-echo '\"two\" – ü'", "+echo 'three\t{four} – ü'")
    turns = [
        [edits(model, written)],
        [run("cat notes.sh"), run("wc -l <notes.sh")],
        [edits(model, changed)],
        [run("sh notes.sh")],
    ]
    code, events, asked = codex(f"Take notes. [[demo {script(*turns)}]]", model)
    assert code == 0, events
    assert (codex.folder / "notes.sh").read_text() == "echo one\necho 'three\t{four} – ü'\n"
    assert "The tool says: " in said(events) and "\none\nthree\t{four} – ü\n" in said(events)
    kinds = [change["kind"] for item in done(events, "file_change") for change in item["changes"]]
    assert kinds == ["add", "update"]
    commands = [(item["exit_code"], item["aggregated_output"]) for item in done(events, "command_execution")]
    assert sorted(commands[:2]) == [(0, "2\n"), (0, "echo one\necho '\"two\" – ü'\n")]
    assert commands[2:] == [(0, "one\nthree\t{four} – ü\n")]
    calls = [item["name"] for item in codex.items() if item["type"] in CALLS]
    assert calls == [name for turn in turns for name, _ in turn]
    usage = events[-1]["usage"]
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert well(asked, 5)


@feature("reasoning goes back")
@pytest.mark.parametrize("model", SOME)
def test_reasoning(codex, model):
    """Encrypted, over the turns of a task and into the next prompt, and none of it is left out."""
    settings = ["-c", 'model_reasoning_effort="low"', "-c", 'model_reasoning_summary="auto"']
    turns = [[run("echo first")], [run("echo second")]]
    asked = []
    for words, command in [("Begin.", ()), ("Go on.", RESUME)]:
        prompt = f"{words} [[demo {script(*turns)}]]"
        code, events, more = codex(prompt, model, *settings, command=command)
        assert code == 0 and "second" in said(events) and done(events, "reasoning"), events
        asked += more
    assert well(asked, 6)
    thoughts = [item for item in codex.items() if item["type"] == "reasoning"]
    assert len(thoughts) >= 6 and all(thought["encrypted_content"] for thought in thoughts)


@feature("`resume --last`")
@pytest.mark.parametrize("model", SOME)
def test_resume(codex, model):
    for n, word in enumerate(["first", "second"]):
        prompt = f"Prompt {n}. [[demo {script([run(f'echo {word}')])}]]"
        code, events, asked = codex(prompt, model, command=RESUME if n else ())
        assert code == 0 and word in said(events), events
        assert well(asked, 2)
    items = codex.items()
    assert sum(item["type"] == "function_call_output" for item in items) == 2


@feature("goes on with another model")
def test_other_model(codex):
    """What one maker sealed is left out for the next, by name; the conversation stays whole."""
    for n, model in enumerate([*SOME, SOME[0]]):
        prompt = f"Prompt {n}. [[demo {script([run(f'echo turn {n}')])}]]"
        code, events, asked = codex(prompt, model, command=RESUME if n else ())
        assert code == 0 and f"turn {n}" in said(events), events
        assert well(asked, 2, *(["input[].encrypted_content"] if n else []))
        assert n == 0 or all("input[].encrypted_content" in request["dropped"] for request in asked)


@feature("`--output-schema`")
@pytest.mark.parametrize("model", SOME)
def test_schema(codex, model):
    lines = {"type": "array", "items": {"type": "integer"}}
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "lines": lines},
        "required": ["name", "lines"],
        "additionalProperties": False,
    }
    path = codex.folder / "schema.json"
    path.write_text(json.dumps(schema))
    prompt = f"Count. [[demo {script([run('echo 5')])}]]"
    code, events, asked = codex(prompt, model, "--output-schema", str(path))
    assert code == 0 and well(asked, 2), events
    answer = json.loads(said(events))
    assert set(answer) == {"name", "lines"} and all(type(line) is int for line in answer["lines"])
    assert [item["exit_code"] for item in done(events, "command_execution")] == [0]


@feature("images: `--image`, and by its own tool")
@pytest.mark.parametrize("model", SOME)
def test_images(codex, model):
    path = codex.folder / "pixel.png"
    path.write_bytes(b64decode(PIXEL.partition(",")[2]))
    code, events, asked = codex("What is this? [[demo pause_ms=0]]", model, "--image", str(path))
    assert code == 0 and "I see 1 image" in said(events) and well(asked, 1), events
    looks = [("view_image", {"path": str(path)})]
    code, events, asked = codex(f"What is there? [[demo {script(looks)}]]", model)
    assert code == 0 and well(asked, 2), events
    outputs = [item["output"] for item in codex.items() if item["type"] == "function_call_output"]
    assert [part["type"] for part in outputs[-1]] == ["input_image"]


@feature("tools of an MCP server, in a namespace")
@pytest.mark.parametrize("model", SOME)
def test_mcp(codex, model):
    server = f'mcp_servers.sky={{command="{sys.executable}",args=["{HERE / "mcp_server.py"}"]}}'
    calls = [("mcp__sky__weather_of", {"city": "Ulm"}), ("mcp__sky__weather_of", {"city": "Rom"})]
    # Of models that it knows, Codex hides these tools until they are searched for.
    turns = [[("tool_search", {"query": "weather of a city"})], calls] if model in KNOWN else [calls]
    code, events, asked = codex(f"Look. [[demo {script(*turns)}]]", model, "-c", server)
    assert code == 0 and well(asked, len(turns) + 1), events
    assert "sunny in Ulm" in said(events) and "sunny in Rom" in said(events)
    assert [item["tool"] for item in done(events, "mcp_tool_call")] == ["weather_of"] * 2
    calls = [item for item in codex.items() if item["type"] == "function_call"]
    assert [(item["namespace"], item["name"]) for item in calls] == [("mcp__sky", "weather_of")] * 2


@feature("compaction")
@pytest.mark.parametrize("model", SOME)
def test_compaction(codex, model):
    """A result that fills the context is summed up, and the task goes on from there."""
    first = "test -e done || { touch done; seq 20000; }; echo first"
    turns = [[run(first)], [run("echo second")]]
    prompt = f"Begin. [[demo {script(*turns)}]]"
    code, events, asked = codex(prompt, model, "-c", "model_auto_compact_token_limit=12000")
    assert code == 0 and "second" in said(events) and well(asked), events
    assert "compacted" in codex.kinds()
    code, events, asked = codex(f"Go on. [[demo {script([run('echo third')])}]]", model, command=RESUME)
    assert code == 0 and "third" in said(events) and well(asked, 2), events


@feature("overloaded, then repeated")
@pytest.mark.parametrize("model", SOME)
def test_overloaded(codex, model):
    marker = f"[[demo status=429 retry_after=1 times=2 key={uuid.uuid4()} pause_ms=0]]"
    code, events, asked = codex(f"Hello {marker}", model)
    assert code == 0 and "simulated SAP AI Core" in said(events), events
    statuses = [request["status"] for request in asked]
    assert (statuses[0], statuses[-1]) == (429, 200)


@feature("a broken stream, then repeated")
@pytest.mark.parametrize("model", SOME)
@pytest.mark.parametrize("frames", [6, 10])
def test_broken_stream(codex, model, frames):
    marker = f"[[demo cut_after={frames} times=1 key={uuid.uuid4()} pause_ms=0]]"
    code, events, asked = codex(f"Hello {marker}", model)
    assert code == 0 and "simulated SAP AI Core" in said(events), events
    assert [bool(request["error"]) for request in asked] == [True, False]
    again = [event["message"] for event in events if event["type"] == "error"]
    assert len(again) == 1 and "Reconnecting" in again[0]


@feature("error is shown")
@pytest.mark.parametrize("model", ["gpt-0", *SOME])
def test_errors(codex, model):
    code, events, asked = codex("Hello [[demo status=400 body=no-such-thing]]", model)
    words = "`gpt-0` does not exist" if model == "gpt-0" else "no-such-thing"
    assert code == 1 and words in events[-1]["error"]["message"], events
    assert [request["status"] for request in asked] == [404 if model == "gpt-0" else 400]


@feature("WebSocket tried first")
@pytest.mark.parametrize("model", SOME)
def test_websocket(codex, model):
    """As without `supports_websockets = false`: one try, and on with HTTP."""
    sockets = ["-c", "model_providers.sap.supports_websockets=true"]
    prompt = f"Hello [[demo {script([run('echo first')])}]]"
    code, events, asked = codex(prompt, model, *sockets)
    assert code == 0 and "first" in said(events), events
    assert [(r["method"], r["status"]) for r in asked] == [("GET", 426), ("POST", 200), ("POST", 200)]
    assert not [event for event in events if event["type"] == "error"]
