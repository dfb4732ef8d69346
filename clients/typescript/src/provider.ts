/** A `fetch` for the clients of OpenAI and Anthropic, which asks Keyward before each request to a model. */

import type { Keyward } from './client.js';
import { watchedBody } from './fetch.js';
import { settle } from './guard.js';
import { FAILED, Hold, LEFT } from './hold.js';
import { estimate, MOST_TOKENS } from './request.js';
import { refusalParts, type Asked } from './types.js';
import { Meter } from './usage.js';

/** In whose name a client calls. */
export type Who = Pick<Asked, 'apiKey' | 'keyId' | 'sourceIp' | 'projectId' | 'user'>;

/** How calls are estimated, and what they are made with. */
export interface ProviderOptions {
  /** Tokens of an answer, where a request names no cap; 4,096 unless it is named. */
  mostTokens?: number | undefined;
  /** The `fetch` that calls are made with; the global one unless it is named. */
  fetch?: typeof fetch | undefined;
}

/**
 * `new OpenAI({ fetch: providerFetch(client, { keyId: 'team-a' }) })`, and the same for `Anthropic`.
 *
 * Every call that names a model is asked about before it is made, and reported with what its answer says that it used,
 * streamed or not; a stream that is not read to its end is charged the estimate. A refusal is the error that a
 * provider's refusal would be; it is not retried.
 */
export function providerFetch(client: Keyward, who: Who, options: ProviderOptions = {}): typeof fetch {
  if (!who.keyId && !who.apiKey) throw new TypeError('providerFetch needs keyId or apiKey: in whose name it calls');
  const inner = options.fetch ?? ((input: Parameters<typeof fetch>[0], init?: RequestInit) => fetch(input, init));
  return async (input, init) => {
    const path = new URL(input instanceof Request ? input.url : input).pathname;
    const body = typeof init?.body === 'string' ? init.body : undefined;
    const call = body === undefined ? undefined : plan(body, path, options.mostTokens ?? MOST_TOKENS);
    if (!call) return inner(input, init);
    const asked: Asked = { endpoint: path, ...call.asked, ...who };
    const decision = await client.core.decide(asked, true, true, client.failOpen);
    if (!decision.allowed) {
      const { status, headers, body } = refusalParts(decision);
      // The application decides whether to wait, not the client library.
      return new Response(body, { status, headers: { ...headers, 'x-should-retry': 'false' } });
    }
    const hold = new Hold(client.core, asked, decision);
    try {
      return metered(hold, await inner(input, { ...init, body: call.body }), call.adds);
    } catch (error) {
      if (neverLeft(error)) hold.release();
      else hold.settle((error as Error)?.name === 'AbortError' ? LEFT : FAILED);
      throw error;
    }
  };
}

interface Plan {
  asked: Asked;
  body: string;
  /** Whether the answer has an event of usage that the caller has not asked for. */
  adds: boolean;
}

function plan(body: string, path: string, mostTokens: number): Plan | undefined {
  let read: Record<string, unknown>;
  try {
    read = JSON.parse(body) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const bytes = new TextEncoder().encode(body).length;
  const { inputTokens, outputTokens, model } = estimate(read, bytes, path, mostTokens);
  if (inputTokens === 0) return undefined;
  const asked: Asked = { model, estimatedInputTokens: inputTokens, estimatedOutputTokens: outputTokens };
  const told = (read['stream_options'] ?? {}) as Record<string, unknown>;
  if (!path.endsWith('/completions') || read['stream'] !== true || told['include_usage'])
    return { asked, body, adds: false };
  try {
    return { asked, body: JSON.stringify({ ...read, stream_options: { ...told, include_usage: true } }), adds: true };
  } catch {
    return { asked, body, adds: false }; // nested too deep to be written again
  }
}

function metered(hold: Hold, answer: Response, adds: boolean): Response {
  const streamed = answer.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
  const meter = new Meter(streamed, adds);
  const end = () => (hold.used(meter.used()), settle(hold, answer.status, FAILED));
  const headers = new Headers(answer.headers);
  for (const name of ['content-encoding', 'content-length']) headers.delete(name);
  const { status, statusText } = answer;
  if (!answer.body) return (end(), new Response(null, { status, statusText, headers }));
  const pass = new TransformStream<Uint8Array, Uint8Array>({
    transform: (bytes, out) => out.enqueue(meter.feed(bytes)),
    flush: (out) => out.enqueue(meter.rest()),
  });
  return new Response(watchedBody(answer.body.pipeThrough(pass), end), { status, statusText, headers });
}

function neverLeft(error: unknown): boolean {
  const code = ((error as Error)?.cause as { code?: string } | undefined)?.code;
  return code === 'ECONNREFUSED' || code === 'ENOTFOUND';
}
