/** How fields are named and bounded on the wire. */

import { cut } from './request.js';
import type { Asked } from './types.js';

/** The fields of a question that its record has too. */
export const FIELDS = ['apiKey', 'keyId', 'sourceIp', 'endpoint', 'model', 'projectId', 'userAgent', 'user'] as const;

const BOUNDS: Record<string, number> = { endpoint: 2048, model: 128, user_agent: 1024, user: 128 };
/** Where a record or a question names no address. */
const NOWHERE = '127.0.0.1';

/** `cacheWrite1hTokens` is `cache_write_1h_tokens` on the wire. */
export function snake(name: string): string {
  return name.replace(/[A-Z]|\d+h/g, (part) => `_${part.toLowerCase()}`);
}

/** Cuts texts to what Keyward takes, in bytes. */
export function bounded(fields: Record<string, unknown>): Record<string, unknown> {
  for (const [name, most] of Object.entries(BOUNDS)) {
    if (fields[name] !== undefined) fields[name] = cut(String(fields[name]), most);
  }
  if (!fields['source_ip']) fields['source_ip'] = NOWHERE;
  return fields;
}

/** The body of `POST /v1/check`. */
export function question(asked: Asked, requestId: string, reserve: boolean, dispatched: boolean) {
  const body: Record<string, unknown> = { request_id: requestId };
  for (const [name, value] of Object.entries(asked)) {
    if (value !== undefined && name !== 'user') body[snake(name)] = value;
  }
  if (reserve) Object.assign(body, { reserve, dispatched });
  return bounded(body);
}

/** A UUID; its parts need only differ, so that a runtime without WebCrypto may make it too. */
export function uuid(): string {
  const made = globalThis.crypto?.randomUUID?.();
  if (made) return made;
  const hex = (length: number) => Array.from({ length }, () => Math.floor(Math.random() * 16).toString(16)).join('');
  return `${hex(8)}-${hex(4)}-4${hex(3)}-a${hex(3)}-${hex(12)}`;
}
