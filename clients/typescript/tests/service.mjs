// The real Keyward on a free port. KEYWARD_BIN names the program; without it, the one that cargo built. CLIENTS_NODE is
// the folder in which scripts/clients has installed the frameworks.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { randomUUID } from 'node:crypto';
import assert from 'node:assert/strict';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const frameworks = process.env.CLIENTS_NODE ?? join(target, 'clients', 'node');
export const load = createRequire(join(frameworks, 'tests.js'));
/** The folder of a framework. */
export const folderOf = (name) => join(frameworks, 'node_modules', name);

const SETTINGS = `
[cardinality]
new_subjects_per_minute_per_address = 6000
[policy.limits.tokens]
"1min" = 10000
[policy.on_store_failure]
check = "deny"
[reservations]
lease_seconds = 3600
`;

function program() {
  const built = [process.env.KEYWARD_BIN, join(target, 'debug/keyward'), join(target, 'release/keyward')];
  const found = built.find((path) => path && existsSync(path));
  assert.ok(found, 'Keyward is needed: cargo build, or name it in KEYWARD_BIN');
  return found;
}

/** Polls until `holds` gives something, with a deadline. */
export async function eventually(what, holds, seconds = 20) {
  const until = performance.now() + seconds * 1000;
  for (;;) {
    const value = await holds();
    if (value) return value;
    assert.ok(performance.now() < until, `in time: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

export const newKey = () => `sk-live-${randomUUID().replaceAll('-', '')}`;

/** A running Keyward, and what an operator does with it. */
export class Service {
  static async start(t) {
    const service = new Service();
    service.directory = mkdtempSync(join(tmpdir(), 'keyward-'));
    writeFileSync(join(service.directory, 'keyward.toml'), SETTINGS);
    service.listen = '127.0.0.1:0';
    await service.start();
    t.after(() => (service.kill(), rmSync(service.directory, { recursive: true, force: true })));
    return service;
  }

  async start() {
    const config = [
      '--config',
      join(this.directory, 'keyward.toml'),
      '--store',
      `embedded:${join(this.directory, 'data')}`,
    ];
    const env = { ...process.env, KEYWARD_PEPPER: '0123456789abcdef0123' };
    this.process = spawn(program(), ['serve', ...config, '--listen', this.listen], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.url = await new Promise((done, fail) => {
      this.process.once('exit', () => fail(new Error('Keyward did not start')));
      for (const input of [this.process.stdout, this.process.stderr]) {
        createInterface({ input }).on('line', (line) => {
          const found = /listens on (http:\/\/127\.0\.0\.1:\d+)/.exec(line);
          if (found) done(found[1]);
        });
      }
    });
    this.listen = this.url.slice('http://'.length);
    await eventually('Keyward is ready', () =>
      fetch(`${this.url}/livez`).then(
        (answer) => answer.ok,
        () => false,
      ),
    );
  }

  kill() {
    this.process.removeAllListeners('exit');
    this.process.kill('SIGKILL');
    return new Promise((done) =>
      (this.process.exitCode ?? this.process.signalCode) ? done() : this.process.once('exit', done),
    );
  }

  async call(method, path, body) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    assert.ok(answer.ok, `${method} ${path} answers ${answer.status}`);
    const text = await answer.text();
    return text ? JSON.parse(text) : undefined;
  }

  check(key) {
    return this.call('POST', '/v1/check', { api_key: key, source_ip: '127.0.0.1' });
  }

  async used(key) {
    const { limits } = await this.check(key);
    return limits.find((limit) => limit.window === '1min' && limit.unit === 'tokens').used;
  }

  spend(key, tokens) {
    return this.call('POST', '/v1/record', {
      api_key: key,
      endpoint: '/',
      source_ip: '127.0.0.1',
      tokens_used: tokens,
    });
  }

  async ban(key, seconds = 600) {
    const { key_id } = await this.check(key);
    await this.call('PUT', `/v1/bans/key:${key_id}`, { duration_seconds: seconds, reason: 'leaked' });
    return key_id;
  }

  lift(keyId) {
    return this.call('DELETE', `/v1/bans/key:${keyId}`, { reason: 'settled' });
  }

  async usage(key) {
    const { key_id } = await this.check(key);
    const { rows } = await this.call('GET', '/v1/usage?group_by=key,model&bucket=day');
    const mine = rows.filter((row) => row.key === key_id);
    const sum = (name) => mine.reduce((total, row) => total + row[name], 0);
    return {
      requests: sum('requests'),
      tokens: sum('tokens'),
      input: sum('input_tokens'),
      output: sum('output_tokens'),
      models: mine.map((row) => row.model).filter(Boolean),
    };
  }

  /** Waits until so much is counted of a key, and nothing is held beyond it. */
  async settled(key, tokens, requests = 1) {
    await eventually(`${key} has ${requests} requests`, async () => (await this.usage(key)).requests === requests);
    assert.equal((await this.usage(key)).tokens, tokens);
    assert.equal(await this.used(key), tokens);
  }

  /** Checks that Keyward has answered, as it counts them itself. */
  async checks() {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(/^keyward_checks_total (\S+)$/m.exec(text)[1]);
  }
}

/** Serves a handler of plain `http` on a free port. */
export async function serve(t, handler) {
  const server = http.createServer(handler);
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => (server.closeAllConnections?.(), new Promise((done) => server.close(done))));
  return server.address().port;
}

/** One request, with headers as they are given. */
export function ask(
  port,
  path = '/hello',
  headers = {},
  body = undefined,
  method = body === undefined ? 'GET' : 'POST',
) {
  return new Promise((done, fail) => {
    const all = { 'user-agent': 'tests/1.0 (a, b)', ...headers };
    if (body !== undefined)
      Object.assign(all, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    const request = http.request({ port, host: '127.0.0.1', path, method, headers: all, agent: false }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => {
        const raw = Buffer.concat(parts);
        done({
          status: answer.statusCode,
          headers: answer.headers,
          raw,
          code: () => JSON.parse(raw.toString()).error.code,
        });
      });
      answer.on('error', fail);
    });
    request.on('error', fail);
    request.end(body);
  });
}

/** Asks and goes away, when the application has the request (`reached`) or has begun to answer. */
export async function leave(port, path, key, body, reached) {
  const headers = { 'x-api-key': key, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const request = http.request({ port, host: '127.0.0.1', path, method: 'POST', headers, agent: false });
  request.on('error', () => undefined);
  const begun = new Promise((done) =>
    request.on('response', (answer) => answer.once('data', done).on('error', () => undefined)),
  );
  request.end(body);
  await (reached ?? begun);
  request.destroy();
}
