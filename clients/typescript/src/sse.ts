/** Server-sent events, read from bytes that may be cut anywhere. */

/** One event: its data, its own id where it has one, and the bytes that it came in. */
export interface ServerEvent {
  data: string;
  id: string | undefined;
  raw: string;
}

const LONGEST = 1 << 20;

/**
 * Splits a stream of text into events; comments and empty events come with empty data. An event of more than 1 Mi
 * characters is an error, or with `passesLong` comes in parts with empty data.
 */
export class EventReader {
  #text = '';
  readonly #passesLong: boolean;
  readonly #decoder = new TextDecoder();

  constructor(passesLong = false) {
    this.#passesLong = passesLong;
  }

  /** The events that are complete with these bytes. */
  push(bytes: Uint8Array): ServerEvent[] {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const events: ServerEvent[] = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#text);
      if (!end) break;
      const length = end.index + end[0].length;
      events.push(event(this.#text.slice(0, length)));
      this.#text = this.#text.slice(length);
    }
    if (this.#text.length <= LONGEST) return events;
    if (!this.#passesLong) throw new RangeError('an event is too long');
    events.push({ data: '', id: undefined, raw: this.#text });
    this.#text = '';
    return events;
  }

  /** What is left when the stream has ended. */
  rest(): string {
    return this.#text + this.#decoder.decode();
  }
}

function event(raw: string): ServerEvent {
  const data: string[] = [];
  let id: string | undefined;
  for (const line of raw.split(/\r\n|\n|\r/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === 'data') data.push(value ?? '');
    else if (field === 'id') id = value;
  }
  return { data: data.join('\n'), id, raw };
}
