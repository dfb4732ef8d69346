/** Records on their way to Keyward: in the background, in batches, with bounds. Nothing here throws into a caller. */

import { Answered, type Transport } from './transport.js';
import type { Stats } from './types.js';

const BATCH = 200;
/** Milliseconds that a record waits for others to go with it. */
const GATHER = 20;
const TIMEOUT = 5_000;
const LONGEST_PAUSE = 5_000;
/** What will never be taken, however often it is sent. */
const UNREADABLE = [400, 413, 415, 422];
const MOST_ERRANDS = 1_000;
/** So many of them at once. */
const ERRANDS = 16;

/** A log of what the client cannot say otherwise; `console.error` unless another is given. */
export type Log = (message: string) => void;

/** Waits so many milliseconds; such a wait keeps no process alive, unless it is `held`. */
export function later(ms: number, held = false): Promise<void> {
  return new Promise((done) => {
    const timer: unknown = setTimeout(done, ms);
    if (!held) (timer as { unref?: () => void }).unref?.();
  });
}

/** A bounded queue, emptied in the background. */
export class Reporter {
  readonly #transport: Transport;
  readonly #stats: Stats;
  readonly #most: number;
  readonly #log: Log;
  #records: string[] = [];
  #errands: (() => Promise<void>)[] = [];
  #onTheirWay = 0;
  #working: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #hurry = 0;

  constructor(transport: Transport, stats: Stats, most: number, log: Log) {
    this.#transport = transport;
    this.#stats = stats;
    this.#most = most;
    this.#log = log;
  }

  /** Records that are not sent yet. */
  get waiting(): number {
    return this.#records.length + this.#onTheirWay;
  }

  /** Puts a record in the queue, or counts it as lost where the queue is full. */
  add(record: Record<string, unknown>): void {
    if (this.waiting >= this.#most) {
      const lost = ++this.#stats.dropped;
      if ((lost & (lost - 1)) === 0) this.#log(`keyward: ${lost} records are lost, as ${this.#most} wait`);
      return;
    }
    this.#records.push(JSON.stringify(record));
    this.#work();
  }

  /** Has something done in the background, once, if fewer than 1,000 such wait. */
  errand(act: () => Promise<void>): void {
    if (this.#errands.length < MOST_ERRANDS) this.#errands.push(act);
    this.#work();
  }

  /** Waits until everything is sent, at most so many milliseconds; says whether it is. */
  async flush(timeout: number): Promise<boolean> {
    this.#hurry += 1;
    this.#wake?.();
    let ended = false;
    const end = new Promise<void>((done) => setTimeout(() => ((ended = true), done()), timeout));
    while (this.#working && !ended) await Promise.race([this.#working, end]);
    this.#hurry -= 1;
    return !this.#working;
  }

  #work(): void {
    this.#working ??= this.#run().finally(() => {
      this.#working = undefined;
      if (this.#records.length > 0 || this.#errands.length > 0) this.#work();
    });
  }

  async #run(): Promise<void> {
    await this.#pause(GATHER);
    for (let failures = 0; this.#records.length > 0 || this.#errands.length > 0;) {
      const errands = this.#errands.splice(0, ERRANDS);
      const lines = this.#records.splice(0, BATCH);
      this.#onTheirWay = lines.length;
      const done = errands.map((act) => act().catch(() => undefined));
      const taken = lines.length === 0 || (await this.#send(lines));
      await Promise.all(done);
      this.#onTheirWay = 0;
      if (!taken) this.#records.unshift(...lines);
      failures = taken ? 0 : failures + 1;
      if (failures > 0)
        await this.#pause(Math.min(1000 * 2 ** (failures - 1), LONGEST_PAUSE) * (0.5 + Math.random() / 2));
    }
  }

  async #pause(ms: number): Promise<void> {
    const woken = new Promise<void>((done) => (this.#wake = done));
    await Promise.race([later(this.#hurry > 0 ? Math.min(ms, 100) : ms), woken]);
  }

  /** Sends a batch; a second time is safe, as each record has its own request id. */
  async #send(lines: string[]): Promise<boolean> {
    try {
      this.#count(
        await this.#transport.call('POST', '/v1/record/batch', lines.join('\n'), TIMEOUT, 'application/x-ndjson'),
      );
      return true;
    } catch (error) {
      this.#log(`keyward: a batch of ${lines.length} records: ${(error as Error).message}`);
      const never = error instanceof Answered && UNREADABLE.includes(error.status);
      if (never) this.#stats.rejected += lines.length;
      return never;
    }
  }

  #count(answer: string): void {
    for (const line of answer.split('\n').filter((text) => text.trim())) {
      const item = JSON.parse(line) as Record<string, unknown>;
      if ('allowed' in item) this.#stats.sent += 1;
      else {
        this.#stats.rejected += 1;
        this.#log(`keyward: a record is not taken: ${String(item['detail'])}`);
      }
    }
  }
}
