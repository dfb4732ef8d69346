/** The client: ask before a request, report after it. */

import { Backoff, Core } from './core.js';
import { Hold } from './hold.js';
import { later, type Log } from './reporter.js';
import { snake } from './wire.js';
import { Refused, type Asked, type Decision, type Stats, type Used } from './types.js';

/** Where Keyward is, and how it is asked. */
export interface ClientOptions {
  /** `http://127.0.0.1:8080` unless it is named. */
  url?: string | undefined;
  /** A token with the scope `record`, and `read` for the ban cache. */
  token?: string | undefined;
  /** Whether requests pass while Keyward does not answer; true unless it is named. */
  failOpen?: boolean | undefined;
  /** Milliseconds that a question may take; 200 unless it is named. */
  timeout?: number | undefined;
  /** Records that wait at most, 10,000 unless it is named; more are lost and counted. */
  maxWaiting?: number | undefined;
  /** Follow the event stream, so that a banned key costs no call; true unless it is named. */
  watchBans?: boolean | undefined;
  /** Where problems are written; `console.error` unless it is named. */
  log?: Log | undefined;
  /** A `fetch` to use in place of the global one. */
  fetch?: typeof fetch | undefined;
}

/** How a request is asked about. */
export interface AskOptions {
  failOpen?: boolean | undefined;
  /**
   * What is held is charged if this process ends before it is settled; with false it is given back, until `dispatch` is
   * called. True unless it is named.
   */
  dispatched?: boolean | undefined;
}

/** A request that was made without `reserve`. */
export type Report = Asked & Used & { responseStatus?: number | undefined; latencyMs?: number | undefined };

/** The client for one Keyward. One per process is enough. */
export class Keyward {
  readonly core: Core;
  readonly failOpen: boolean;

  constructor(options: ClientOptions = {}) {
    this.failOpen = options.failOpen ?? true;
    this.core = new Core({
      url: options.url ?? 'http://127.0.0.1:8080',
      token: options.token,
      timeout: options.timeout ?? 200,
      maxWaiting: options.maxWaiting ?? 10_000,
      watchBans: options.watchBans ?? true,
      log: options.log ?? ((message) => console.error(message)),
      fetch: options.fetch,
    });
    flushAtExit(this);
  }

  /** Counts since the start. */
  get stats(): Readonly<Stats> {
    return this.core.stats;
  }

  /** Records that are not sent yet. */
  get waiting(): number {
    return this.core.reporter.waiting;
  }

  /** Whether the event stream is heard, so that bans are known here. */
  get knowsBans(): boolean {
    return this.core.bans.live;
  }

  /** Whether a request may be made; nothing is held. Never throws. */
  check(asked: Asked, options: AskOptions = {}): Promise<Decision> {
    return this.core.decide(asked, false, true, options.failOpen ?? this.failOpen);
  }

  /** Holds the most that a request may use, or throws `Refused`. Settle what it returns, however the request ends. */
  async reserve(asked: Asked, options: AskOptions = {}): Promise<Hold> {
    const dispatched = options.dispatched ?? true;
    const decision = await this.core.decide(asked, true, dispatched, options.failOpen ?? this.failOpen);
    if (!decision.allowed) throw new Refused(decision);
    return new Hold(this.core, asked, decision, dispatched);
  }

  /** As `reserve`, but waits while limits refuse, with back-off, for `deadline` milliseconds at most (30,000). */
  async acquire(asked: Asked, options: AskOptions & { deadline?: number | undefined } = {}): Promise<Hold> {
    const backoff = new Backoff(options.deadline ?? 30_000);
    for (;;) {
      try {
        return await this.reserve(asked, options);
      } catch (error) {
        const pause = error instanceof Refused ? backoff.pause(error.decision, Math.random()) : undefined;
        if (pause === undefined) throw error;
        await later(pause, true);
      }
    }
  }

  /** Runs `work` with what is held, and settles it however it ends; `work` says what was used by `hold.used`. */
  async with<T>(asked: Asked, work: (hold: Hold) => Promise<T> | T, options: AskOptions = {}): Promise<T> {
    const hold = await this.reserve(asked, options);
    try {
      const result = await work(hold);
      hold.settle();
      return result;
    } catch (error) {
      hold.fail(error);
      throw error;
    }
  }

  /** As `with`, for what gives its result piece by piece; a reader that stops early is charged what was held. */
  async *stream<T>(asked: Asked, work: (hold: Hold) => AsyncIterable<T>, options: AskOptions = {}): AsyncGenerator<T> {
    const hold = await this.reserve(asked, options);
    try {
      yield* work(hold);
      hold.settle();
    } catch (error) {
      hold.fail(error);
      throw error;
    } finally {
      hold.settle(499);
    }
  }

  /** Reports a request that was made without `reserve`, in the background. */
  record(report: Report): void {
    const { responseStatus, latencyMs, ...rest } = report;
    const fields = Object.entries(rest).filter(([name, value]) => value !== undefined && !name.startsWith('estimated'));
    const named = Object.fromEntries(fields.map(([name, value]) => [snake(name), value]));
    const latency = latencyMs === undefined ? {} : { latency_ms: latencyMs };
    const timestamp = new Date().toISOString();
    this.core.report({ ...named, ...latency, response_status: responseStatus ?? 200, timestamp });
  }

  /** Waits until all records are sent, for so many milliseconds at most (5,000); says whether they are. */
  flush(timeout = 5_000): Promise<boolean> {
    return this.core.reporter.flush(timeout);
  }

  /** Sends what waits and stops to follow bans. */
  close(timeout = 5_000): Promise<boolean> {
    this.core.bans.end();
    return this.flush(timeout);
  }
}

interface Process {
  once?: (event: string, act: () => void) => void;
}

const CLIENTS = new Set<WeakRef<Keyward>>();

/** A process that ends by itself sends what waits first; one that is ended by `process.exit` calls `close` before. */
function flushAtExit(client: Keyward): void {
  const runtime = (globalThis as { process?: Process }).process;
  if (CLIENTS.size === 0)
    runtime?.once?.('beforeExit', () => CLIENTS.forEach((weak) => void weak.deref()?.flush(2_000)));
  for (const weak of CLIENTS) if (!weak.deref()) CLIENTS.delete(weak);
  CLIENTS.add(new WeakRef(client));
}
