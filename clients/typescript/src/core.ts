/** What everything here shares: the connections, the queue of records, and the bans that are known. */

import { Bans } from './bans.js';
import { Reporter, type Log } from './reporter.js';
import { Answered, Transport } from './transport.js';
import { decisionOf, refusal, withoutKeyward, type Asked, type Decision, type Stats } from './types.js';
import { bounded, question, uuid } from './wire.js';

const ERRAND = 5_000;
/** Milliseconds in which a question that is asked again surely has the same reservation. */
const REMEMBERED = 60_000;

export interface CoreOptions {
  url: string;
  token: string | undefined;
  timeout: number;
  maxWaiting: number;
  watchBans: boolean;
  log: Log;
  fetch: typeof fetch | undefined;
}

/** One Keyward as this process sees it. */
export class Core {
  readonly transport: Transport;
  readonly reporter: Reporter;
  readonly bans: Bans;
  readonly stats: Stats = { asked: 0, refusedByCache: 0, unanswered: 0, sent: 0, dropped: 0, rejected: 0 };
  readonly #timeout: number;
  readonly #watch: boolean;
  readonly #log: Log;
  #complained = -Infinity;

  constructor(options: CoreOptions) {
    this.#timeout = options.timeout;
    this.#watch = options.watchBans;
    this.#log = options.log;
    this.transport = new Transport(options.url, options.token, options.fetch);
    this.reporter = new Reporter(this.transport, this.stats, options.maxWaiting, options.log);
    this.bans = new Bans(this.transport, options.log);
  }

  /** What is decided about a request: by what is known here, by Keyward, or without it. Never throws. */
  async decide(asked: Asked, reserve: boolean, dispatched: boolean, failOpen: boolean): Promise<Decision> {
    let body: string;
    try {
      body = JSON.stringify(question(asked, uuid(), reserve, dispatched));
    } catch (error) {
      // What is asked comes from a caller: it is no outage.
      this.#complain(`a question that cannot be written is refused: ${(error as Error)?.name}`);
      return refusal('INVALID_REQUEST');
    }
    try {
      if (this.#watch) this.bans.follow();
      const known = await this.bans.known(asked.apiKey, asked.keyId);
      if (!known) return await this.#ask(asked, body, reserve, failOpen);
      this.stats.refusedByCache += 1;
      return known;
    } catch (error) {
      return this.#without((error as Error).message, failOpen);
    }
  }

  async #ask(asked: Asked, body: string, reserve: boolean, failOpen: boolean): Promise<Decision> {
    const started = performance.now();
    this.stats.asked += 1;
    try {
      const answer = await this.transport.call('POST', '/v1/check', body, this.#timeout);
      const decision = decisionOf(JSON.parse(answer) as Record<string, unknown>);
      await this.bans.learn(asked.apiKey, decision, started);
      return decision;
    } catch (error) {
      if (error instanceof Answered && !error.isOurs) {
        this.#complain(`a question that it cannot read is refused: ${error.message}`);
        return refusal('INVALID_REQUEST');
      }
      if (reserve && !(error instanceof Answered)) this.reporter.errand(() => this.#giveBackLost(body, started));
      return this.#without((error as Error).message, failOpen);
    }
  }

  #without(why: string, failOpen: boolean): Decision {
    this.stats.unanswered += 1;
    this.#complain(`${why}; requests are ${failOpen ? 'let through' : 'refused'}`);
    return withoutKeyward(failOpen);
  }

  /** Logs once a second at most. */
  #complain(what: string): void {
    const now = performance.now();
    if (now - this.#complained < 1000) return;
    this.#complained = now;
    this.#log(`keyward: ${what}`);
  }

  /** Gives back what a question may hold whose answer never came: asked again, it has the same reservation. */
  async #giveBackLost(body: string, started: number): Promise<void> {
    if (performance.now() > started + REMEMBERED) return;
    const answer = JSON.parse(await this.transport.call('POST', '/v1/check', body, ERRAND)) as Record<string, unknown>;
    const id = answer['reservation_id'];
    if (typeof id === 'string') await this.#reservation('DELETE', id);
  }

  /** Gives a reservation back, in the background. */
  giveBack(id: string | undefined): void {
    if (id !== undefined) this.reporter.errand(() => this.#reservation('DELETE', id));
  }

  /** Says that the request has left, in the background. */
  markDispatched(id: string | undefined): void {
    if (id !== undefined) this.reporter.errand(() => this.#reservation('PATCH', id, '{"dispatched":true}'));
  }

  async #reservation(method: string, id: string, body?: string): Promise<void> {
    try {
      await this.transport.call(method, `/v1/reservations/${encodeURIComponent(id)}`, body, ERRAND);
    } catch (error) {
      this.#log(`keyward: a reservation is left to its lease: ${(error as Error).message}`);
    }
  }

  /** Puts a record in the queue. Never throws. */
  report(record: Record<string, unknown>): void {
    try {
      const endpoint = record['endpoint'] || '/';
      this.reporter.add(bounded({ request_id: uuid(), ...record, endpoint }));
    } catch (error) {
      this.#log(`keyward: a request could not be reported: ${(error as Error).name}`);
    }
  }
}

/** How long `acquire` waits between two questions: longer each time, no longer than is told or left. */
export class Backoff {
  readonly #until: number;
  #next = 100;

  constructor(deadline: number) {
    this.#until = performance.now() + deadline;
  }

  /** Milliseconds to wait; undefined where the deadline comes first or waiting is no use. `random` is 0 to 1. */
  pause(refused: Decision, random: number): number | undefined {
    const left = this.#until - performance.now();
    const passing = ['RATE_LIMIT_EXCEEDED', 'BUDGET_EXCEEDED', 'STORE_UNAVAILABLE'].includes(refused.reason ?? '');
    // A limit that says nothing of when to come back has no room for the request, ever.
    if (!passing || left <= 0 || (refused.retryAfter === undefined && refused.by === 'keyward')) return undefined;
    const pause = this.#next * (0.5 + random / 2);
    this.#next = Math.min(this.#next * 2, 5_000);
    return Math.min(pause, Math.max((refused.retryAfter ?? 5) * 1000, 100), left);
  }
}
