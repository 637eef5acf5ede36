// The real binary in --demo mode, and a note of every feature's outcome for the matrix.

import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after } from 'node:test';

export const KEY = 'sk-demo';
export const MODELS = ['gpt-4o', 'gpt-5'];

// Whatever this machine's environment says, the clients talk to the proxy on loopback.
for (const name of Object.keys(process.env)) {
  if (/^(AZURE_)?OPENAI_|_PROXY$/i.test(name)) delete process.env[name];
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

/** A row of the matrix: a test for each model, or one where the model does not matter. */
export function feature(name, models, run) {
  for (const model of models ?? ['any']) {
    test(model === 'any' ? name : `${name} (${model})`, { timeout: 60_000 }, async () => {
      let passed = false;
      try {
        await run(model);
        passed = true;
      } finally {
        const row = { sdk: 'node', feature: name, model, passed };
        if (process.env.MATRIX_FILE) {
          appendFileSync(process.env.MATRIX_FILE, JSON.stringify(row) + '\n');
        }
      }
    });
  }
}
