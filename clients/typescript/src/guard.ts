/** What all middleware does: which requests are asked about, with which question, and what is reported. */

import { clients, type ClientHeader } from './address.js';
import { Keyward, type ClientOptions } from './client.js';
import { Hold, nothing } from './hold.js';
import {
  estimate,
  KEY_HEADERS,
  keysInQuery,
  keysOf,
  MOST_BODY,
  MOST_TOKENS,
  routes,
  unreadEstimate,
  type Estimate,
} from './request.js';
import { refusal, type Asked, type Decision } from './types.js';

/** The response header by which an application says what a request used. It is taken out of the response. */
export const USED = 'x-tokens-used';

/** A request as an estimate sees it. `body` is absent where it is too large, or no object of JSON. */
export interface Seen {
  method: string;
  path: string;
  /** Pairs of a name in lower case and a value. */
  headers: readonly (readonly [string, string])[];
  body?: unknown;
  /** Bytes of the body. */
  bytes: number;
  /** Nobody can read the body ahead, and it may ask a model: its length is not known, or it is read already. */
  unread?: boolean | undefined;
}

/** What a middleware has read of a body. */
export type Read = Pick<Seen, 'body' | 'bytes' | 'unread'>;

/** The options of every middleware. */
export interface GuardOptions extends Omit<ClientOptions, 'failOpen'> {
  /** A client that exists already, in place of `url` and `token`. */
  client?: Keyward | undefined;
  /** Patterns of paths that nobody is asked about, such as `/healthz` and `/static/*`. */
  exclude?: readonly string[] | undefined;
  /** While Keyward does not answer: true lets through, false refuses, patterns name the routes that let through. */
  failOpen?: boolean | readonly string[] | undefined;
  /** The most that a request may use, in tokens: a number, or a function of it. Else it is read from the request. */
  estimatedTokens?: number | ((request: Seen) => number | Estimate | undefined) | undefined;
  /** Tokens of an answer, where a request to a model names no cap; 4,096 unless it is named. */
  mostTokens?: number | undefined;
  /** Every header that the application takes keys from. */
  keyHeaders?: readonly string[] | undefined;
  /** Every parameter of the query that the application takes keys from; none unless they are named. */
  keyQueries?: readonly string[] | undefined;
  /** Networks of your own proxies. */
  trustedProxies?: readonly string[] | undefined;
  /** The header in which they say who asks; `x-forwarded-for` unless it is named. */
  clientHeader?: ClientHeader | undefined;
  /** Refuse requests without a key; else they are the application's to refuse. */
  requireKey?: boolean | undefined;
  /** Bytes of a request that are read to estimate it; 8 MiB unless it is named. */
  mostBody?: number | undefined;
}

/** What a middleware knows of a request before it has read its body. */
export interface Head {
  method: string;
  path: string;
  /** What stands behind the question mark. */
  query: string;
  headers: readonly (readonly [string, string])[];
  /** The address of the client; the function is given the lines of the header of the proxies. */
  sourceIp: string | ((resolve: (peer: string | undefined) => string) => string);
}

/** The options of a middleware, read once. */
export class Guard {
  readonly client: Keyward;
  readonly mostBody: number;
  readonly #excludes: (path: string) => boolean;
  readonly #open: (path: string) => boolean;
  readonly #options: GuardOptions;
  readonly #keyHeaders: readonly string[];
  readonly #clientHeader: ClientHeader;
  readonly #clientOf: (peer: string | undefined, lines: readonly string[]) => string;

  constructor(options: GuardOptions) {
    const { failOpen = true } = options;
    this.#options = options;
    this.#excludes = routes(options.exclude ?? []);
    this.#open = typeof failOpen === 'boolean' ? () => failOpen : routes(failOpen);
    this.#keyHeaders = (options.keyHeaders ?? KEY_HEADERS).map((name) => name.toLowerCase());
    this.#clientHeader = options.clientHeader ?? 'x-forwarded-for';
    this.#clientOf = clients(options.trustedProxies ?? [], this.#clientHeader);
    this.mostBody = options.mostBody ?? MOST_BODY;
    this.client = options.client ?? new Keyward({ ...options, failOpen: true });
  }

  /** Whether the estimate is taken from what is asked for. */
  get readsBodies(): boolean {
    return typeof this.#options.estimatedTokens !== 'number';
  }

  /** What a request holds, or why it is refused. Never throws. */
  async hold(head: Head, body: () => Promise<Read>): Promise<Hold | Decision> {
    if (this.#excludes(head.path)) return nothing();
    const failOpen = this.#open(head.path);
    try {
      const key = this.#key(head);
      if (key === undefined) return nothing();
      if (typeof key !== 'string') return key;
      const asked = this.#question(key, head, this.readsBodies ? await body() : { bytes: 0 });
      const decision = await this.client.core.decide(asked, true, true, failOpen);
      return decision.allowed ? new Hold(this.client.core, asked, decision) : decision;
    } catch (error) {
      // What is in it comes from its caller, whose key may be banned: no matter of `failOpen`, as Keyward is not away.
      this.#log(`keyward: a request could not be read, and is refused: ${(error as Error)?.name}`);
      return refusal('INVALID_REQUEST');
    }
  }

  #log(message: string): void {
    (this.#options.log ?? console.error)(message);
  }

  #key(head: Head): string | Decision | undefined {
    const found = keysOf(head.headers, this.#keyHeaders);
    for (const key of keysInQuery(head.query, this.#options.keyQueries ?? [])) found.add(key);
    if (found.has(undefined)) return refusal('INVALID_REQUEST');
    if (found.size > 1) return refusal('AMBIGUOUS_KEY');
    if (found.size === 0) return this.#options.requireKey ? refusal('NO_KEY') : undefined;
    return [...found][0];
  }

  #question(apiKey: string, head: Head, read: Read): Asked {
    const lines = head.headers.filter(([name]) => name === this.#clientHeader).map(([, value]) => value);
    const resolve = (peer: string | undefined) => this.#clientOf(peer, lines);
    const sourceIp = typeof head.sourceIp === 'string' ? head.sourceIp : head.sourceIp(resolve);
    const userAgent = head.headers.find(([name]) => name === 'user-agent')?.[1];
    const asked: Asked = { apiKey, sourceIp, endpoint: head.path || '/', userAgent };
    const given = this.#estimate({ method: head.method, path: head.path, headers: head.headers, ...read });
    if (typeof given === 'number') return { ...asked, estimatedTokens: Math.max(0, Math.ceil(given)) };
    const { inputTokens, outputTokens, model } = given;
    if (inputTokens + outputTokens === 0) return { ...asked, model };
    return { ...asked, model, estimatedInputTokens: inputTokens, estimatedOutputTokens: outputTokens };
  }

  /** The estimate of the application, else that of the request: also where the application's fails. */
  #estimate(seen: Seen): number | Estimate {
    const { estimatedTokens, mostTokens = MOST_TOKENS } = this.#options;
    try {
      const given = typeof estimatedTokens === 'function' ? estimatedTokens(seen) : estimatedTokens;
      if (typeof given === 'number' && !Number.isFinite(given)) throw new RangeError('no number');
      if (given !== undefined && given !== null) return given;
    } catch (error) {
      const why = (error as Error)?.name;
      this.#log(`keyward: estimatedTokens failed, and the estimate is taken from the request: ${why}`);
    }
    if (seen.unread) return unreadEstimate(seen.bytes, seen.path, mostTokens);
    return estimate(seen.body, seen.bytes, seen.path, mostTokens);
  }
}

/** Settles a request of an application that has answered with this status, or broke off (undefined). */
export function settle(hold: Hold, status: number | undefined, broken: number): void {
  if (status !== undefined && status >= 400 && status < 500 && !hold.hasUsage) hold.used(0);
  hold.settle(status ?? broken);
}
