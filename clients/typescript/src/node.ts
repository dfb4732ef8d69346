/** Middleware for Express, Connect and plain `http`. */

import type { IncomingMessage, ServerResponse } from 'node:http';

import { Guard, settle, USED, type GuardOptions, type Read } from './guard.js';
import { Hold, LEFT } from './hold.js';
import { mayBeJson, parsed, tokensIn } from './request.js';
import { refusalParts, type Decision } from './types.js';

/** What is in the request of a handler: `req.keyward.used(212)`. */
export interface WithKeyward {
  keyward?: Hold;
}

type Incoming = IncomingMessage & WithKeyward & { body?: unknown; ip?: string | undefined; originalUrl?: string };

/** A middleware of Connect's form; with plain `http`, call it with the rest of your handler as `next`. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => Promise<void>;

/**
 * Asks Keyward before each request that shows a key, and reports it when it has ended, however it ends.
 *
 * A handler says what it used by the response header `X-Tokens-Used`, which is taken out again, or by
 * `req.keyward.used(212)`.
 */
export function keyward(options: GuardOptions = {}): Middleware & { client: Guard['client'] } {
  const guard = new Guard(options);
  const middleware: Middleware = async (req, res, next) => {
    const hold = await enter(guard, req, res, options.trustedProxies !== undefined);
    if (hold) next();
  };
  return Object.assign(middleware, { client: guard.client });
}

/** What a request holds; undefined where it was refused and has its answer. */
export async function enter(guard: Guard, req: Incoming, res: ServerResponse, ownProxies: boolean, read?: unknown) {
  const [path, query = ''] = (req.originalUrl ?? req.url ?? '/').split(/[?#](.*)/s) as [string, string | undefined];
  const sourceIp = (resolve: (peer: string | undefined) => string) =>
    ownProxies ? resolve(req.socket?.remoteAddress) : resolve(req.ip ?? req.socket?.remoteAddress);
  const head = { method: req.method ?? 'GET', path: path || '/', query, headers: pairs(req.rawHeaders), sourceIp };
  const hold = await guard.hold(head, () => bodyOf(req, read ?? req.body, guard.mostBody));
  if (!(hold instanceof Hold)) return refuse(res, hold);
  req.keyward = hold;
  watch(hold, res);
  return hold;
}

function pairs(raw: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) found.push([(raw[at] as string).toLowerCase(), raw[at + 1] as string]);
  return found;
}

function refuse(res: ServerResponse, decision: Decision): undefined {
  const { status, headers, body } = refusalParts(decision);
  if (res.headersSent || res.destroyed) return undefined;
  res.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
  return undefined;
}

/** The body: as another middleware has read it, else read ahead and given back to the application. */
async function bodyOf(req: Incoming, body: unknown, most: number): Promise<Read> {
  const length = Number(req.headers['content-length'] ?? NaN);
  if (body !== undefined) {
    const bytes = body instanceof Uint8Array ? body : undefined;
    const text = typeof body === 'string' ? body : undefined;
    const size = bytes?.length ?? (text === undefined ? sizeOf(body, most) : Buffer.byteLength(text));
    const read = bytes ?? (text === undefined ? undefined : Buffer.from(text));
    return { body: read ? parsed(read) : body, bytes: Number.isFinite(length) ? Math.max(length, size) : size };
  }
  const [largest, streamed] = [length > most, req.headers['transfer-encoding'] !== undefined];
  if (streamed) return unread(req);
  if (!(length > 0) || largest || req.readableEnded) return { bytes: 0 };
  const bytes = await ahead(req, length);
  return bytes && mayBeJson(bytes.subarray(0, 64)) ? { body: parsed(bytes), bytes: bytes.length } : { bytes: 0 };
}

/** A body of unknown length cannot be read ahead: where it may ask a model, it is taken for one that names no cap. */
function unread(req: Incoming): Read {
  return { bytes: 0, unread: /json/i.test(req.headers['content-type'] ?? 'json') };
}

/** Bytes of the JSON that a parser has made this of, however deep it is nested; more than `most` are not counted. */
function sizeOf(body: unknown, most: number): number {
  const seen = new Set<unknown>();
  let bytes = 0;
  for (const left = [body]; left.length > 0 && bytes <= most; ) {
    const value = left.pop();
    if (typeof value === 'string') bytes += Buffer.byteLength(value) + 2;
    else if (typeof value === 'number' || typeof value === 'boolean' || value === null) bytes += String(value).length;
    else if (isPlain(value) && !seen.has(value)) {
      seen.add(value);
      const names = Array.isArray(value) ? [] : Object.keys(value);
      const parts: unknown[] = Array.isArray(value) ? value : names.map((name) => value[name]);
      bytes += names.reduce((sum, name) => sum + Buffer.byteLength(name) + 3, Math.max(2, parts.length + 1));
      for (const part of parts) left.push(part);
    }
  }
  return bytes;
}

/** Whether a parser of JSON or of forms makes such: no upload, and nothing that leads on to its connection. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const kind: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || kind === Object.prototype || kind === null;
}

/** Reads exactly so many bytes and puts them back; undefined where the client leaves first. */
async function ahead(req: IncomingMessage, length: number): Promise<Buffer | undefined> {
  const bytes = await new Promise<Buffer | undefined>((done) => {
    const end = (found: Buffer | undefined) => {
      req.off('readable', look).off('close', leave).off('error', leave);
      done(found);
    };
    const look = () => {
      const found = req.read(length) as Buffer | null;
      if (found !== null) end(found);
    };
    const leave = () => end(undefined);
    req.on('readable', look).on('close', leave).on('error', leave);
  });
  if (bytes) req.unshift(bytes);
  // A stream learns on the next tick that nobody reads it in this way any more.
  await new Promise<void>((done) => setImmediate(done));
  return bytes;
}

type Headers = Record<string, unknown> | readonly unknown[] | undefined;

/** Takes `X-Tokens-Used` out of the response, and settles when the response has ended. */
function watch(hold: Hold, res: ServerResponse): void {
  const { setHeader, writeHead } = res;
  res.setHeader = function (name: string, value: number | string | readonly string[]) {
    if (name.toLowerCase() !== USED) return setHeader.call(res, name, value);
    hold.used(tokensIn(value));
    return res;
  };
  res.writeHead = function (status: number, ...more: unknown[]) {
    const rest = more.map((part) =>
      typeof part === 'object' && part !== null ? without(hold, part as Headers) : part,
    );
    return writeHead.call(res, status, ...(rest as []));
  } as typeof res.writeHead;
  const close = () => settle(hold, res.headersSent ? res.statusCode : undefined, LEFT);
  if (res.destroyed || res.closed) close();
  else res.once('close', close);
}

function without(hold: Hold, headers: Headers): Headers {
  const taken = (name: unknown, value: unknown) => {
    const ours = String(name).toLowerCase() === USED;
    if (ours) hold.used(tokensIn(value));
    return ours;
  };
  if (!Array.isArray(headers))
    return Object.fromEntries(Object.entries(headers ?? {}).filter(([name, value]) => !taken(name, value)));
  if (Array.isArray(headers[0]))
    return headers.filter((pair) => !taken((pair as unknown[])[0], (pair as unknown[])[1]));
  return headers.filter((_, at) => {
    const start = at - (at % 2);
    return (
      String(headers[start]).toLowerCase() !== USED || (at % 2 === 1 && taken(headers[start], headers[at]) && false)
    );
  });
}
