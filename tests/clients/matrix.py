"""Prints what passed as Markdown tables, from the lines that the suites wrote. Fails where a test did, and where a client
left a model or a feature out that it tried with others."""

import json
import sys

EMPTY, PASSED, REFUSED, LEFT_OUT, FAILED = "–", "ok", "400", "left out", "FAILED"
TITLES = {
    "families": "Chat Completions: every family, with each client that can say it",
    "messages": "Messages API: every family, with each client that can say it",
    "responses": "Responses API: every family, with each client that can say it",
    "agents": "Claude Code",
    "codex": "Codex",
    "embeddings": "Embeddings and rerankers",
    "openai": "The proxy as a whole, and OpenAI's own",
    "anthropic": "The proxy as a whole, and Anthropic's own",
}
BY_MODEL = {"families", "messages", "responses", "agents", "codex", "embeddings"}
SDKS = [
    "openai for Python",
    "openai for Node",
    "anthropic for Python",
    "anthropic for Node",
    "LangChain",
    "Vercel AI SDK",
    "Claude Code",
    "Codex",
]
# Two each that must have the same features.
TWINS = {SDKS[0]: SDKS[1], SDKS[1]: SDKS[0], SDKS[2]: SDKS[3], SDKS[3]: SDKS[2]}
PYTHON_ONLY = {"async client", "32 at once, async", "rerank"}


def main(path, families_path, *versions):
    with open(path) as lines:
        rows = sorted(map(json.loads, lines), key=lambda row: SDKS.index(row["sdk"]))
    with open(families_path) as table:
        families = json.load(table)
    print(f"{', '.join(filter(None, versions))}.")
    print(f"`{REFUSED}`: the vendor has no such thing, and the proxy says so. `{LEFT_OUT}`: it says so, and answers.")
    models = {**families["chat"], **families["responses"]}
    for row in rows:
        row["is_left_out"] = row["needs"] in models.get(row["model"], {}).get("drops", [])
    for name, title in TITLES.items():
        of_table = [row for row in rows if row["table"] == name]
        if of_table:
            print(f"\n### {title}\n")
            print_table(of_table, by_model=name in BY_MODEL)
    chat = families["chat"]
    tables = {
        "families": chat,
        "messages": chat,
        "responses": {**chat, **families["responses"]},
        "embeddings": families["embeddings"],
    }
    holes = list(holes_in(rows, tables))
    failed = [row for row in rows if not row["passed"]]
    print()
    for row in failed:
        what = f"refused: {row['needs']}" if row["feature"] == "refused" else row["feature"]
        print(f"FAILED: {row['sdk']}: {what} ({row['model']})")
    for hole in holes:
        print(f"not tried: {hole}")
    print(f"{len(rows)} outcomes, {len(failed)} failed")
    return 1 if failed or holes or not rows else 0


def print_table(rows, by_model):
    """Models down and features across; or features down and clients across."""
    down, across = ("model", "feature") if by_model else ("feature", "sdk")
    plain = [row for row in rows if row["feature"] != "refused"]
    lines = list(dict.fromkeys(row[down] for row in plain))
    columns = list(dict.fromkeys(row[across] for row in plain))
    print(f"| {down} | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for line in lines:
        cells = [cell([r for r in rows if r[down] == line], across, column, plain) for column in columns]
        print(f"| {line} | {' | '.join(cells)} |")


def cell(of_line, across, column, plain):
    outcomes = [row["passed"] for row in of_line if row[across] == column]
    if outcomes:
        return PASSED if all(outcomes) else FAILED
    needs = {row["needs"] for row in plain if row[across] == column}
    refused = [row for row in of_line if row["feature"] == "refused" and row["needs"] in needs]
    if refused:
        said = LEFT_OUT if all(row["is_left_out"] for row in refused) else REFUSED
        return said if all(row["passed"] for row in refused) else FAILED
    return EMPTY


def holes_in(rows, tables):
    tried = {}
    for row in rows:
        if row["feature"] != "refused":
            models = tried.setdefault((row["table"], row["sdk"], row["feature"], row["needs"]), set())
            models.add(row["model"])
    for (table, sdk, feature, needs), models in tried.items():
        if feature != "rerank":
            for model, row in tables.get(table, {}).items():
                if model not in models and needs not in row.get("lacks", {}):
                    yield f"{sdk}: {feature} ({model})"
        twin = TWINS.get(sdk)
        if twin and feature not in PYTHON_ONLY and tried.get((table, twin, feature, needs)) != models:
            yield f"{twin}: {feature}"


sys.exit(main(*sys.argv[1:]))
