/** HTTP to Keyward by `fetch`, each call with a deadline. */

/** Keyward did not answer in time, or not at all. */
export class Unanswered extends Error {}

/** Keyward answered with an error status. Its detail never repeats a value. */
export class Answered extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail ? `it answered ${status}: ${detail}` : `it answered ${status}`);
    this.status = status;
  }

  /** Whether the operator's settings are wrong (token, scope, host), and not what a caller sent. */
  get isOurs(): boolean {
    return [401, 403, 421].includes(this.status) || this.status >= 500;
  }
}

/** Connections to one Keyward. The token is private: neither `console.log` nor `JSON.stringify` shows it. */
export class Transport {
  readonly origin: string;
  readonly #base: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;

  constructor(url: string, token: string | undefined, using: typeof fetch | undefined) {
    const parts = URL.canParse?.(url) === false ? undefined : new URL(url);
    if (!parts || !/^https?:$/.test(parts.protocol))
      throw new TypeError('url: an http:// or https:// address is needed');
    if (parts.username || parts.password) throw new TypeError('url: give the token as `token`, not in the address');
    this.origin = parts.origin;
    this.#base = parts.origin + parts.pathname.replace(/\/+$/, '');
    this.#token = token || undefined;
    this.#fetch = using ?? ((input, init) => fetch(input, init));
  }

  /** An answer whose body is not read yet. */
  async open(
    method: string,
    path: string,
    init: { body?: string; type?: string; signal: AbortSignal; more?: Record<string, string> },
  ) {
    const headers: Record<string, string> = { ...init.more };
    if (init.type) headers['content-type'] = init.type;
    if (this.#token) headers['authorization'] = `Bearer ${this.#token}`;
    try {
      return await this.#fetch(this.#base + path, {
        method,
        headers,
        body: init.body ?? null,
        signal: init.signal,
        redirect: 'manual',
      });
    } catch (error) {
      throw new Unanswered(why(error));
    }
  }

  /** The text of a 2xx answer; throws `Answered` for another status and `Unanswered` for none. `timeout` in ms. */
  async call(method: string, path: string, body: string | undefined, timeout: number, type = 'application/json') {
    const signal = AbortSignal.timeout(timeout);
    const answer = await this.open(method, path, { ...(body === undefined ? {} : { body }), type, signal });
    let text: string;
    try {
      text = await answer.text();
    } catch (error) {
      throw new Unanswered(why(error));
    }
    if (!answer.ok) throw new Answered(answer.status, detail(text));
    return text;
  }
}

function why(error: unknown): string {
  const name = (error as Error)?.name;
  const code = ((error as Error)?.cause as { code?: string } | undefined)?.code;
  return name === 'TimeoutError' ? 'no answer in time' : `no answer (${code ?? name})`;
}

function detail(text: string): string {
  try {
    return String(JSON.parse(text).detail ?? '').slice(0, 500);
  } catch {
    return '';
  }
}
