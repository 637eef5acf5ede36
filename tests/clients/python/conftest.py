"""The real binary in --demo mode, and a note of every feature's outcome for the matrix."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from anthropic import Anthropic
from asks import KEY
from openai import OpenAI

BINARY = os.environ["PROXY_BINARY"]
FAMILIES = json.loads((Path(__file__).parent.parent / "families.json").read_text())
CHAT = FAMILIES["chat"]
RESPONSES = {**CHAT, **FAMILIES["responses"]}

# Whatever this machine's environment says, the clients talk to the proxy on loopback.
for name in list(os.environ):
    if name.startswith(("OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_")) or name.upper().endswith("_PROXY"):
        del os.environ[name]


class Proxy:
    """The binary on a free port."""

    def __init__(self, folder, *options):
        self.folder = Path(folder)
        self.log_path = self.folder / "log"
        with open(self.log_path, "wb") as log:
            command = [BINARY, "--demo", "--port", "0", *options]
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.base_url = self._base_url()
        self.root_url = self.base_url.removesuffix("/v1")

    def _base_url(self):
        for line in self.process.stdout:
            _, found, url = line.partition("Base URL for OpenAI clients: ")
            if found:
                return url.strip()
        raise RuntimeError(f"the proxy did not start:\n{self.log()}")

    def log(self):
        return self.log_path.read_text()

    def settled_log(self):
        """A request's line comes after the last byte of its answer, so perhaps after its client's end."""
        for _ in range(50):
            before = self.log()
            time.sleep(0.15)
            if self.log() == before:
                break
        return before

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=40)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def proxy(tmp_path_factory):
    proxy = Proxy(tmp_path_factory.mktemp("proxy"), "--debug")
    yield proxy
    proxy.stop()


@pytest.fixture
def client(proxy):
    with OpenAI(base_url=proxy.base_url, api_key=KEY) as client:
        yield client


@pytest.fixture
def impatient(client):
    """The client without its retries."""
    return client.with_options(max_retries=0)


@pytest.fixture
def patient(proxy):
    """Anthropic's client, with its retries."""
    with Anthropic(base_url=proxy.root_url, api_key=KEY) as client:
        yield client


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "feature(name, needs, table): a cell of the matrix, and what a vendor must have for it"
    )


def pytest_generate_tests(metafunc):
    """A test of a model runs with its module's models, but for those that lack what it needs."""
    marks = [mark.args for mark in metafunc.definition.iter_markers("parametrize")]
    if "model" in metafunc.fixturenames and not any("model" in args[0] for args in marks):
        needs = metafunc.definition.get_closest_marker("feature").kwargs.get("needs")
        rows = {**RESPONSES, **FAMILIES["embeddings"]}
        lacks = {model: row.get("lacks", {}) for model, row in rows.items()}
        models = [m for m in metafunc.module.MODELS if needs not in lacks.get(m, {})]
        metafunc.parametrize("model", models)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    path = os.environ.get("MATRIX_FILE")
    if path and (report.when == "call" or report.failed):
        params = item.callspec.params if hasattr(item, "callspec") else {}
        mark = item.get_closest_marker("feature")
        row = {
            "table": mark.kwargs.get("table", item.module.TABLE),
            "sdk": item.module.SDK,
            "feature": mark.args[0],
            "needs": mark.kwargs.get("needs") or params.get("ability"),
            "model": params.get("model", "any"),
            "passed": report.passed,
        }
        with open(path, "a") as out:
            out.write(json.dumps(row) + "\n")
    return report
