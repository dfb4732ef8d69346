/** Bans of keys as far as they are known here, fed by the event stream: a key whose ban is known costs no call. */

import { later, type Log } from './reporter.js';
import { EventReader } from './sse.js';
import type { Transport } from './transport.js';
import type { Decision } from './types.js';

const MOST_KEYS = 50_000;
/** The stream says something at least every 15 seconds. */
const SILENCE = 35_000;
/** Milliseconds after which a known ban is asked about again, whatever the stream said. */
const OLDEST = 600_000;
/** After a lifting, an answer of an instance that has not heard of it is not kept for so many milliseconds. */
const QUIET = 3_000;
const REFUSED_PAUSE = 60_000;

interface Held {
  kept: number;
  until: number | undefined;
}

/** Which keys are banned. Keys are known by a hash with a secret of this process, and by their public id. */
export class Bans {
  readonly #transport: Transport;
  readonly #log: Log;
  #salt: string | undefined;
  readonly #ids = new Map<string, string>();
  readonly #held = new Map<string, Held>();
  #live = false;
  #lifted = -Infinity;
  #last: string | undefined;
  #following = false;
  #ended: AbortController | undefined;

  constructor(transport: Transport, log: Log) {
    this.#transport = transport;
    this.#log = log;
  }

  /** Whether the stream is heard; nothing is answered from here while it is not. */
  get live(): boolean {
    return this.#live;
  }

  /** Follows the event stream in the background, from now on. */
  follow(): void {
    if (this.#following) return;
    this.#following = true;
    this.#ended = new AbortController();
    void this.#run(this.#ended.signal);
  }

  /** Stops to follow, and to answer. */
  end(): void {
    this.#following = true;
    this.#live = false;
    this.#ended?.abort();
  }

  /** The refusal of a key whose ban is known here. */
  async known(apiKey: string | undefined, keyId: string | undefined): Promise<Decision | undefined> {
    if (!this.#live || this.#held.size === 0) return undefined;
    const name = keyId ?? (apiKey === undefined ? undefined : this.#ids.get(await this.#hash(apiKey)));
    const held = name === undefined ? undefined : this.#held.get(name);
    if (name === undefined || !held || !this.#live) return undefined;
    const now = Date.now();
    if (now > held.kept + OLDEST || (held.until !== undefined && now >= held.until)) {
      this.#held.delete(name);
      return undefined;
    }
    const retryAfter = held.until === undefined ? undefined : Math.max(1, Math.round((held.until - now) / 1000));
    const action = held.until === undefined ? 'permanent_ban' : 'temporary_ban';
    return { allowed: false, reason: 'API_KEY_BANNED', action, retryAfter, keyId: name, degraded: false, by: 'cache' };
  }

  /** Takes what an answer says: the public id of the key, and its ban. `askedAt` is of `performance.now`. */
  async learn(apiKey: string | undefined, decision: Decision, askedAt: number): Promise<void> {
    if (decision.keyId === undefined || decision.by !== 'keyward') return;
    if (apiKey !== undefined) keep(this.#ids, await this.#hash(apiKey), decision.keyId);
    if (decision.reason !== 'API_KEY_BANNED' || decision.degraded) return;
    if (!this.#live || askedAt <= this.#lifted + QUIET) return;
    this.#hold(decision.keyId, decision.retryAfter === undefined ? undefined : Date.now() + 1000 * decision.retryAfter);
  }

  /** Takes an event of the stream. */
  hear(event: Record<string, unknown>): void {
    const { type, subject, action, would } = event;
    if (type === 'POLICY_CHANGED') {
      this.#held.clear();
      this.#lifted = performance.now();
    }
    if (typeof subject !== 'string' || !subject.startsWith('key:')) return;
    const keyId = subject.slice(4);
    if ((type === 'TEMPORARY_BAN' || type === 'PERMANENT_BAN') && !would) {
      const until = (event['evidence'] as Record<string, unknown> | null)?.['until'];
      const ban = action === 'temporary_ban' || action === 'permanent_ban';
      if (ban) this.#hold(keyId, typeof until === 'string' ? Date.parse(until) : undefined);
    } else if (type === 'BAN_LIFTED' || type === 'BAN_EXPIRED' || type === 'SUBJECT_FORGOTTEN') {
      this.#held.delete(keyId);
      this.#lifted = performance.now();
    }
  }

  #hold(keyId: string, until: number | undefined): void {
    keep(this.#held, keyId, { kept: Date.now(), until });
  }

  async #hash(apiKey: string): Promise<string> {
    const crypto = await webcrypto();
    this.#salt ??= String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)));
    const bytes = new TextEncoder().encode(this.#salt + apiKey);
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return String.fromCharCode(...hash.subarray(0, 16));
  }

  async #run(ended: AbortSignal): Promise<void> {
    for (let pause = 500; !ended.aborted;) {
      let status = 0;
      try {
        status = await this.#listen(ended);
        pause = 500;
      } catch {
        pause = Math.min(pause * 2, 30_000);
      }
      this.#live = false;
      if ([401, 403, 404, 421].includes(status)) {
        this.#log(`keyward: no ban is known here: the event stream answers ${status} (its scope is read)`);
        pause = REFUSED_PAUSE;
      } else if (status === 422) this.#forget();
      if (!ended.aborted) await later(pause * (0.5 + Math.random() / 2));
    }
  }

  /** The log goes no longer back to where the stream ended: what was lifted meanwhile is not known. */
  #forget(): void {
    this.#held.clear();
    this.#last = undefined;
  }

  async #listen(ended: AbortSignal): Promise<number> {
    const silence = new AbortController();
    const stop = () => silence.abort();
    ended.addEventListener('abort', stop, { once: true });
    let timer: unknown = unheld(setTimeout(stop, SILENCE));
    try {
      const more: Record<string, string> = {
        accept: 'text/event-stream',
        ...(this.#last ? { 'last-event-id': this.#last } : {}),
      };
      const answer = await this.#transport.open('GET', '/v1/events/stream', { signal: silence.signal, more });
      if (answer.status !== 200 || !answer.body) {
        await answer.body?.cancel();
        return answer.status;
      }
      if (this.#last === undefined) this.#forget();
      const [reader, parts] = [new EventReader(), answer.body.getReader()];
      for (let part = await parts.read(); !part.done; part = await parts.read()) {
        clearTimeout(timer as ReturnType<typeof setTimeout>);
        timer = unheld(setTimeout(stop, SILENCE));
        this.#live = !ended.aborted;
        for (const event of reader.push(part.value)) {
          if (event.data) this.hear(JSON.parse(event.data) as Record<string, unknown>);
          this.#last = event.id ?? this.#last;
        }
      }
      return 200;
    } finally {
      clearTimeout(timer as ReturnType<typeof setTimeout>);
      ended.removeEventListener('abort', stop);
    }
  }
}

function unheld(timer: unknown): unknown {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}

function keep<T>(map: Map<string, T>, name: string, value: T): void {
  map.delete(name);
  map.set(name, value);
  if (map.size > MOST_KEYS) map.delete(map.keys().next().value as string);
}

/** WebCrypto; Node 18 has it in a module alone. */
async function webcrypto(): Promise<Crypto> {
  if (globalThis.crypto?.subtle) return globalThis.crypto;
  const name = 'node:crypto';
  return ((await import(name)) as { webcrypto: Crypto }).webcrypto;
}
