/** Handlers from `Request` to `Response`: Hono, Next, Workers, Deno, Bun. */

import { Guard, settle, USED, type GuardOptions, type Read } from './guard.js';
import { FAILED, Hold, LEFT } from './hold.js';
import { mayBeJson, parsed, tokensIn } from './request.js';
import { refusalParts } from './types.js';

/** The options of `withKeyward`. */
export interface FetchOptions<Args extends unknown[]> extends GuardOptions {
  /** The address of the other end of the connection, from what the runtime gives a handler beside the request. */
  clientIp?: ((request: Request, ...args: Args) => string | null | undefined) | undefined;
}

const HOLDS = new WeakMap<Request, Hold>();

/** The handle of a request: `handleOf(request)?.used(212)`. */
export function handleOf(request: Request): Hold | undefined {
  return HOLDS.get(request);
}

/**
 * A handler that asks Keyward before each request that shows a key, and reports it when its response has ended. What
 * still waits is sent with `waitUntil`, where the runtime gives one.
 */
export function withKeyward<Args extends unknown[]>(
  handler: (request: Request, ...args: Args) => Response | Promise<Response>,
  options: FetchOptions<Args> = {},
): (request: Request, ...args: Args) => Promise<Response> {
  const guard = new Guard(options);
  return async (request, ...args) => {
    const { pathname: path, search, hash } = new URL(request.url);
    const headers = apart(request.headers);
    const sourceIp = (resolve: (peer: string | undefined) => string) =>
      resolve(options.clientIp?.(request, ...args) ?? undefined);
    const head = { method: request.method, path, query: (search + hash).slice(1), headers, sourceIp };
    const hold = await guard.hold(head, () => bodyOf(request, guard.mostBody));
    if (!(hold instanceof Hold)) {
      const { status, headers, body } = refusalParts(hold);
      return new Response(body, { status, headers });
    }
    HOLDS.set(request, hold);
    const ended = () => waitUntil(args)?.(guard.client.flush().then(() => undefined));
    const leave = () => (settle(hold, undefined, LEFT), ended());
    if (request.signal?.aborted) leave();
    request.signal?.addEventListener('abort', leave, { once: true });
    try {
      return watched(hold, await handler(request, ...args), ended);
    } catch (error) {
      settle(hold, undefined, request.signal?.aborted ? LEFT : FAILED);
      ended();
      throw error;
    } finally {
      request.signal?.removeEventListener('abort', leave);
    }
  };
}

/** Headers of one name are joined with a comma: each is looked at. */
function apart(headers: Headers): [string, string][] {
  return [...headers].flatMap(([name, value]) =>
    name === 'user-agent'
      ? [[name, value] as [string, string]]
      : value.split(',').map((part): [string, string] => [name, part]),
  );
}

async function bodyOf(request: Request, most: number): Promise<Read> {
  if (request.bodyUsed) return { bytes: 0, unread: /json/i.test(request.headers.get('content-type') ?? 'json') };
  if (!request.body || Number(request.headers.get('content-length') ?? 0) > most) return { bytes: 0 };
  const reader = (request.clone().body as ReadableStream<Uint8Array>).getReader();
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    bytes += part.value.length;
    if (bytes > most || !mayBeJson((parts[0] as Uint8Array).subarray(0, 64))) {
      void reader.cancel().catch(() => undefined);
      return { bytes: 0 };
    }
  }
  const whole = new Uint8Array(bytes);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return { body: parsed(whole), bytes };
}

function watched(hold: Hold, response: Response, ended: () => void): Response {
  const end = () => (settle(hold, response.status, LEFT), ended());
  const told = response.headers.get(USED);
  hold.used(tokensIn(told));
  if (response.status === 101 || (!response.body && told === null)) return (end(), response);
  const headers = new Headers(response.headers);
  headers.delete(USED);
  const { status, statusText } = response;
  if (!response.body) return (end(), new Response(null, { status, statusText, headers }));
  return new Response(watchedBody(response.body, end), { status, statusText, headers });
}

/** The same bytes; says when they have ended, also where nobody reads them to the end. */
export function watchedBody(body: ReadableStream<Uint8Array>, end: () => void, see?: (part: Uint8Array) => void) {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const part = await reader.read();
        if (part.done) return (end(), controller.close());
        see?.(part.value);
        controller.enqueue(part.value);
      } catch (error) {
        end();
        controller.error(error);
      }
    },
    async cancel(reason) {
      end();
      await reader.cancel(reason);
    },
  });
}

type WaitUntil = (work: Promise<unknown>) => void;

function waitUntil(args: readonly unknown[]): WaitUntil | undefined {
  const context = args.find((arg) => typeof (arg as { waitUntil?: unknown } | null)?.waitUntil === 'function');
  return context ? (work) => (context as { waitUntil: WaitUntil }).waitUntil(work) : undefined;
}
