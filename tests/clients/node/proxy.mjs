// The real binary in --demo mode, and a note of every feature's outcome for the matrix.

import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after } from 'node:test';

export const KEY = 'sk-demo';
export const FAMILIES = JSON.parse(readFileSync(process.env.FAMILIES_FILE, 'utf8'));

// Whatever this machine's environment says, the clients talk to the proxy on loopback.
for (const name of Object.keys(process.env)) {
  if (/^(AZURE_)?OPENAI_|^ANTHROPIC_|_PROXY$/i.test(name)) delete process.env[name];
}

const started = [];

// Also of a test that failed: a child left alive would keep Node from ending.
after(() => Promise.all(started.map((proxy) => proxy.stop())));

/** The binary on a free port. */
export class Proxy {
  static async start(...options) {
    const proxy = new Proxy();
    started.push(proxy);
    proxy.folder = mkdtempSync(join(tmpdir(), 'clients-node-'));
    const log = openSync(join(proxy.folder, 'log'), 'w');
    proxy.process = spawn(process.env.PROXY_BINARY, ['--demo', '--port', '0', ...options], {
      cwd: proxy.folder,
      stdio: ['ignore', 'pipe', log],
    });
    proxy.exit = new Promise((resolve) => proxy.process.on('exit', resolve));
    const marker = 'Base URL for OpenAI clients: ';
    for await (const line of createInterface(proxy.process.stdout)) {
      if (line.startsWith(marker)) {
        proxy.baseURL = line.slice(marker.length);
        break;
      }
    }
    if (!proxy.baseURL) throw new Error(`the proxy did not start:\n${proxy.log()}`);
    proxy.process.stdout.resume();
    proxy.rootURL = proxy.baseURL.replace(/\/v1$/, '');
    return proxy;
  }

  log() {
    return readFileSync(join(this.folder, 'log'), 'utf8');
  }

  stop() {
    return (this.stopped ??= this.#stop());
  }

  async #stop() {
    this.process.kill('SIGTERM');
    const code = await this.exit;
    const log = this.log();
    rmSync(this.folder, { recursive: true });
    return { code, log };
  }
}

/**
 * What declares the features of a suite: a test for each model of `rows`, but for those that lack what the feature needs;
 * or for other `models`, or null for one test where the model does not matter.
 */
export function suite(table, sdk, rows) {
  function feature(name, ...rest) {
    const run = rest.pop();
    const { needs = null, models = Object.keys(rows) } = rest[0] ?? {};
    for (const model of models ?? ['any']) {
      if (rows[model]?.lacks?.[needs]) continue;
      const title = model === 'any' ? name : `${name} (${model})`;
      declare(title, { table, sdk, feature: name, needs, model }, () => run(model));
    }
  }

  /** A test for each thing that a model lacks, of those that can be asked for. */
  feature.refused = (least, run) => {
    for (const [model, { lacks = {} }] of Object.entries(rows)) {
      for (const [needs, field] of Object.entries(lacks)) {
        if (!least[needs]) continue;
        const row = { table, sdk, feature: 'refused', needs, model };
        declare(`refused: ${needs} (${model})`, row, () => run(model, needs, field));
      }
    }
  };
  return feature;
}

/** A test whose outcome is noted for the matrix. */
function declare(title, row, run) {
  test(title, { timeout: 60_000 }, async () => {
    let passed = false;
    try {
      await run();
      passed = true;
    } finally {
      const line = JSON.stringify({ ...row, passed }) + '\n';
      if (process.env.MATRIX_FILE) appendFileSync(process.env.MATRIX_FILE, line);
    }
  });
}
