/** What an answer of a provider says that it used: OpenAI's and Anthropic's shapes, whole or streamed. */

import { EventReader } from './sse.js';
import type { Used } from './types.js';

type Fields = Record<string, unknown>;

const MOST_WHOLE = 64 << 20;
const LAST = ['message_delta', 'response.completed', 'response.incomplete', 'response.failed'];

/** The usage object of an answer; undefined where it counts nothing. */
export function usageIn(given: unknown): Used | undefined {
  if (typeof given !== 'object' || given === null) return undefined;
  const usage = given as Fields;
  const cached = ['cache_read_input_tokens', 'cache_creation_input_tokens'].some((name) => isCount(usage[name]));
  const used = cached && usage['prompt_tokens'] === undefined ? ofAnthropic(usage) : ofOpenAi(usage);
  return used.promptTokens === undefined && used.completionTokens === undefined ? undefined : used;
}

/** Tokens of the cache come beside those of the input; Keyward counts them as part of it. */
function ofAnthropic(usage: Fields): Used {
  const [read, written] = [
    count(usage, 'cache_read_input_tokens') ?? 0,
    count(usage, 'cache_creation_input_tokens') ?? 0,
  ];
  const long = count(part(usage, 'cache_creation'), 'ephemeral_1h_input_tokens') ?? 0;
  const input = count(usage, 'input_tokens');
  return {
    promptTokens: input === undefined ? undefined : input + read + written,
    completionTokens: count(usage, 'output_tokens'),
    cachedTokens: read || undefined,
    cacheWriteTokens: Math.max(0, written - long) || undefined,
    cacheWrite1hTokens: long || undefined,
  };
}

function ofOpenAi(usage: Fields): Used {
  const [first, second] = usage['prompt_tokens'] === undefined ? ['input', 'output'] : ['prompt', 'completion'];
  return {
    promptTokens: count(usage, `${first}_tokens`),
    completionTokens: count(usage, `${second}_tokens`),
    cachedTokens: count(part(usage, `${first}_tokens_details`), 'cached_tokens'),
    reasoningTokens: count(part(usage, `${second}_tokens_details`), 'reasoning_tokens'),
  };
}

const isCount = (value: unknown) => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const count = (usage: Fields, name: string) => (isCount(usage[name]) ? Math.floor(usage[name] as number) : undefined);
const part = (usage: Fields, name: string) => (usage[name] ?? {}) as Fields;

/** Reads the usage of an answer from its bytes, as they pass. */
export class Meter {
  readonly #streamed: boolean;
  readonly #drop: boolean;
  readonly #reader = new EventReader(true);
  readonly #known: Fields = {};
  #whole: Uint8Array[] = [];
  #bytes = 0;
  #finished = false;

  /** `drop`: take out the event of usage alone, which the caller has not asked for. */
  constructor(streamed: boolean, drop: boolean) {
    this.#streamed = streamed;
    this.#drop = drop;
  }

  /** Takes bytes of an answer, and gives those that are passed on. */
  feed(bytes: Uint8Array): Uint8Array {
    if (!this.#streamed) {
      this.#bytes += bytes.length;
      this.#whole = this.#bytes > MOST_WHOLE ? [] : [...this.#whole, bytes];
      return bytes;
    }
    const events = this.#reader.push(bytes);
    const passed = events.filter(({ data }) => !(this.#read(data) && this.#drop)).map(({ raw }) => raw);
    return new TextEncoder().encode(passed.join(''));
  }

  /** What is still to be passed on when the answer has ended. */
  rest(): Uint8Array {
    return new TextEncoder().encode(this.#streamed ? this.#reader.rest() : '');
  }

  /** The usage; undefined where the answer broke off before it was told, or told none. */
  used(): Used | undefined {
    if (this.#streamed) return this.#finished ? usageIn(this.#known) : undefined;
    const whole = new Uint8Array(this.#whole.reduce((sum, bytes) => sum + bytes.length, 0));
    this.#whole.reduce((at, bytes) => (whole.set(bytes, at), at + bytes.length), 0);
    return usageIn((fields(new TextDecoder().decode(whole)) ?? {})['usage']);
  }

  /** Takes the usage of an event; says whether it has nothing else to say. */
  #read(text: string): boolean {
    const data = text.startsWith('{') ? fields(text) : undefined;
    if (!data) return false;
    const inner = (data['message'] ?? data['response']) as Fields | undefined;
    const usage = data['usage'] ?? inner?.['usage'];
    const has = typeof usage === 'object' && usage !== null;
    if (has) for (const [name, value] of Object.entries(usage)) if (value !== null) this.#known[name] = value;
    const kind = data['type'];
    if (has && (kind === undefined || LAST.includes(kind as string))) this.#finished = true;
    const choices = data['choices'];
    return kind === undefined && has && Array.isArray(choices) && choices.length === 0;
  }
}

function fields(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}
