/** What a request holds until it is known what it used. */

import type { Core } from './core.js';
import { FIELDS, snake } from './wire.js';
import type { Asked, Decision, Used } from './types.js';

/** The status of a request whose client left, and of one that failed. */
export const LEFT = 499;
export const FAILED = 500;

/**
 * A request that was let through, until it is settled. What `used` was told is charged; where nobody told, the whole
 * estimate stays charged: a model that was asked has its price, whoever waits for the answer. Settling puts a record in
 * a queue: it waits for nothing and never throws.
 */
export class Hold {
  readonly decision: Decision;
  readonly #core: Core | undefined;
  readonly #asked: Asked;
  readonly #usage: Used = {};
  readonly #started = performance.now();
  #dispatched: boolean;
  #ended: boolean;

  constructor(core: Core | undefined, asked: Asked, decision: Decision, dispatched = true) {
    this.#core = core;
    this.#asked = asked;
    this.decision = decision;
    this.#dispatched = dispatched;
    this.#ended = core === undefined;
  }

  /** The public id of the key, where Keyward has told it. */
  get keyId(): string | undefined {
    return this.decision.keyId;
  }

  /** Whether anybody has told what was used. */
  get hasUsage(): boolean {
    const { model: _, serviceTier: __, ...counts } = this.#usage;
    return Object.values(counts).some((value) => value !== undefined);
  }

  /** The tokens that are held. */
  get estimate(): number {
    const { estimatedTokens, estimatedInputTokens, estimatedOutputTokens } = this.#asked;
    return estimatedTokens ?? (estimatedInputTokens ?? 0) + (estimatedOutputTokens ?? 0);
  }

  /** Says what the request used: a sum of tokens, or more. What is said last of a field counts. */
  used(usage: number | Used | undefined): void {
    const more: Used = typeof usage === 'number' ? { tokensUsed: usage } : (usage ?? {});
    for (const [name, value] of Object.entries(more)) {
      if (value !== undefined) Object.assign(this.#usage, { [name]: value });
    }
  }

  /** Reports the request as ended with this HTTP status. A second time does nothing. */
  settle(status = 200): void {
    if (!this.#core || !this.#end()) return;
    this.#core.report(this.#record(status));
  }

  /** Gives back what is held: the request was not made, and used nothing. */
  release(): void {
    if (this.#core && this.#end()) this.#core.giveBack(this.decision.reservationId);
  }

  /** Says that the request leaves for its provider: from now on it is charged, even if this process ends. */
  dispatch(): void {
    if (this.#core && !this.#dispatched) this.#core.markDispatched(this.decision.reservationId);
    this.#dispatched = true;
  }

  /** Settles a block that failed: gives back what never left, unless somebody told what was used. */
  fail(error: unknown): void {
    if (!this.#dispatched && !this.hasUsage) this.release();
    else this.settle((error as Error | undefined)?.name === 'AbortError' ? LEFT : FAILED);
  }

  #end(): boolean {
    const first = !this.#ended;
    this.#ended = true;
    return first;
  }

  #record(status: number): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    for (const name of FIELDS) if (this.#asked[name] !== undefined) record[snake(name)] = this.#asked[name];
    for (const [name, value] of Object.entries(this.#usage)) record[snake(name)] = value;
    if (this.decision.reservationId !== undefined) record['reservation_id'] = this.decision.reservationId;
    else if (!this.hasUsage && this.estimate > 0) record['tokens_used'] = this.estimate;
    record['response_status'] = status >= 100 && status <= 599 ? status : FAILED;
    record['latency_ms'] = Math.max(0, performance.now() - this.#started);
    record['timestamp'] = new Date().toISOString();
    return record;
  }
}

/** What a request holds that nobody asked about: nothing, and what it used is not reported. */
export function nothing(): Hold {
  return new Hold(undefined, {}, { allowed: true, action: 'none', degraded: false, by: 'client' });
}
