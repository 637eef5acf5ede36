"""Prints what passed as a table, from the lines that both suites wrote. Fails where a test did, or where a feature was
tried with only one of the two SDKs (but for those of one language)."""

import json
import sys

COLUMNS = [(sdk, model) for sdk in ["python", "node"] for model in ["gpt-4o", "gpt-5", "any"]]
PYTHON_ONLY = {"async client", "32 at once, async"}


def main(path, *versions):
    with open(path) as lines:
        rows = [json.loads(line) for line in lines]
    table = {}
    for row in rows:
        cells = table.setdefault(row["feature"], {})
        key = (row["sdk"], row["model"])
        cells[key] = cells.get(key, True) and row["passed"]
    width = max(map(len, table), default=0)
    print(f"{'':{width}}  {'  '.join(versions)}")
    print("  ".join([f"{'':{width}}"] + [f"{sdk:6} {model:6}" for sdk, model in COLUMNS]))
    holes = []
    for feature, cells in table.items():
        marks = {None: "–", True: "ok", False: "FAILED"}
        print("  ".join([f"{feature:{width}}"] + [f"{marks[cells.get(c)]:13}" for c in COLUMNS]).rstrip())
        models = {sdk: {m for s, m in cells if s == sdk} for sdk in ["python", "node"]}
        if feature not in PYTHON_ONLY and models["python"] != models["node"]:
            holes.append(feature)
    failed = sum(not passed for cells in table.values() for passed in cells.values())
    for feature in holes:
        print(f"not tried with both SDKs: {feature}")
    print(f"{len(table)} features, {sum(map(len, table.values()))} cells, {failed} failed")
    return 1 if failed or holes or not table else 0


sys.exit(main(*sys.argv[1:]))
