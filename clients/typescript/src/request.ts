/** What a request says of itself: its keys, its client, and the most that it may use. */

/** Every header that keys are looked for in, where nothing else is said. */
export const KEY_HEADERS = ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key'];
/** Tokens of an answer, where a request to a model names no cap. */
export const MOST_TOKENS = 4096;
/** Bytes of a request that are read to estimate it; a larger one holds no tokens. */
export const MOST_BODY = 8 << 20;

const MOST_CAP = 1e9;
/** A token of a prompt is seldom shorter than three bytes. */
const BYTES_PER_TOKEN = 3;
const BEARER = /^bearer[ \t]+([!-~]{1,512})$/i;
const PLAIN = /^([!-~]{1,512})$/;
const CAPS = ['max_completion_tokens', 'max_tokens', 'max_output_tokens', 'max_tokens_to_sample'];
/** Routes to models that answer without tokens. */
const WITHOUT_OUTPUT = /(embeddings|moderations|rerank|count_tokens|:countTokens|:embedContent|:batchEmbedContents)$/;
/** Routes that name the model themselves: Gemini's and Azure's. Azure's is a deployment, which has no price. */
const OF_MODEL = /\/models\/([^/:]+):\w+$|\/openai\/deployments\/[^/]+\//;

/**
 * All keys in pairs of a header name (in lower case) and a value; undefined for one that others may read otherwise. A
 * comma joins what came in several headers of one name.
 */
export function keysOf(
  headers: Iterable<readonly [string, string]>,
  names: readonly string[],
): Set<string | undefined> {
  const found = new Set<string | undefined>();
  for (const [name, given] of headers) {
    if (!names.includes(name)) continue;
    for (const part of given.split(',').map((text) => text.replace(/^[ \t]+|[ \t]+$/g, '')))
      if (part) found.add((name === 'authorization' ? BEARER : PLAIN).exec(part)?.[1]);
  }
  return found;
}

/**
 * All keys that a query names, read as Keyward reads it; undefined for one that others may read otherwise. A `#` belongs
 * to no query, but a target may have one, and applications differ in whether a value ends there: both are looked at.
 */
export function keysInQuery(query: string, names: readonly string[]): Set<string | undefined> {
  const found = new Set<string | undefined>();
  const parts = [query.split(/[&;]/), query.includes('#') ? query.split(/[&;#]/) : []].flat();
  for (const pair of names.length > 0 ? parts : []) {
    const [name, value] = pair.split(/=(.*)/s).map(decoded) as [string | undefined, string | undefined];
    if (name !== undefined && names.includes(name) && pair.includes('=') && value !== '')
      found.add(PLAIN.exec(value ?? '')?.[1]);
  }
  return found;
}

/** A part of a query as forms write it, without the blanks around it; undefined where it is not UTF-8. */
function decoded(text: string): string | undefined {
  const written = text.replace(/\+/g, ' ').replace(/%(?![0-9a-f]{2})/gi, '%25');
  try {
    return decodeURIComponent(written).replace(/^[ \t]+|[ \t]+$/g, '');
  } catch {
    return undefined;
  }
}

/** A text of at most so many bytes of UTF-8. */
export function cut(text: string, most: number): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= most) return new TextDecoder().decode(bytes);
  return new TextDecoder().decode(bytes.subarray(0, most), { stream: true });
}

const TWISTED = /\/\/|\\|\/\.\.?(\/|$)|%2e|%2f|%5c/i;

/**
 * Whether a path is one of these patterns, such as `/static/*`; `*` stands for any text. A path that may lead elsewhere
 * than it reads (`..`, `//`, a backslash, an encoded dot or slash) is none of them.
 */
export function routes(patterns: readonly string[]): (path: string) => boolean {
  const forms = patterns.map((pattern) => {
    if (!/^[/*]/.test(pattern)) throw new TypeError(`the pattern ${pattern} must begin with a slash, such as /healthz`);
    return new RegExp(
      `^${pattern
        .split('*')
        .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
        .join('.*')}$`,
      's',
    );
  });
  return (path) => !TWISTED.test(path) && forms.some((form) => form.test(path));
}

/** An estimate of the most that a request may use, in tokens; `model` is whose price it has. */
export interface Estimate {
  inputTokens: number;
  outputTokens: number;
  model?: string | undefined;
}

/** Whether a body that begins so may be an object of JSON. */
export function mayBeJson(start: Uint8Array): boolean {
  for (const byte of start) {
    if (![0x20, 9, 10, 13, 0, 0xef, 0xbb, 0xbf, 0xff, 0xfe].includes(byte)) return byte === 0x7b;
  }
  return true;
}

/** A body as JSON; undefined where it is none. */
export function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}

/**
 * What a body gives: its caps on output, and a third of its bytes for the prompt. One that is no object asks no model,
 * and holds no tokens; neither does one that names no model and no cap, where its path names no model either, as Gemini's
 * and Azure's do.
 */
export function estimate(body: unknown, bytes: number, path: string, mostTokens: number): Estimate {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return { inputTokens: 0, outputTokens: 0 };
  const asked = body as Record<string, unknown>;
  const ofPath = OF_MODEL.exec(path);
  const model = asked['model'] ?? ofPath?.[1];
  if (model === undefined && !ofPath && caps(asked).length === 0) return { inputTokens: 0, outputTokens: 0 };
  const known = unreadEstimate(bytes, path, cap(asked, mostTokens));
  return typeof model === 'string' ? { ...known, model: cut(model, 128) || undefined } : known;
}

/** The estimate of what may ask a model, and names none that can be read. */
export function unreadEstimate(bytes: number, path: string, outputTokens: number): Estimate {
  return {
    inputTokens: Math.ceil(bytes / BYTES_PER_TOKEN),
    outputTokens: WITHOUT_OUTPUT.test(path) ? 0 : outputTokens,
  };
}

/** What caps the output, in any dialect. */
function caps(asked: Record<string, unknown>): unknown[] {
  const inner = (asked['generationConfig'] as Record<string, unknown> | null | undefined)?.['maxOutputTokens'];
  return [...CAPS.map((name) => asked[name]), inner].filter((value) => value !== undefined && value !== null);
}

function cap(asked: Record<string, unknown>, mostTokens: number): number {
  const named = caps(asked).map(whole);
  const known = named.filter((value): value is number => value !== undefined);
  const most = known.length > 0 && known.length === named.length ? Math.max(...known) : Math.max(mostTokens, ...known);
  return Math.min(most * Math.max(whole(asked['n']) ?? 1, whole(asked['best_of']) ?? 1), MOST_CAP);
}

function whole(value: unknown): number | undefined {
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) return undefined;
  return Math.min(Math.ceil(value), MOST_CAP);
}

/** The number in an `X-Tokens-Used`; undefined where there is none. */
export function tokensIn(value: unknown): number | undefined {
  const text = String(Array.isArray(value) ? value[0] : value).trim();
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
