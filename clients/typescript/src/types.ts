/** What is asked, what is decided, and what was used: the shapes of `POST /v1/check` and `POST /v1/record`. */

/** A question. `apiKey` or `keyId` is required; what is not named is not sent. */
export interface Asked {
  apiKey?: string | undefined;
  /** Your own public name for a key. */
  keyId?: string | undefined;
  sourceIp?: string | undefined;
  endpoint?: string | undefined;
  model?: string | undefined;
  projectId?: string | undefined;
  userAgent?: string | undefined;
  /** Your name for your own end user, at most 128 bytes; no personal data. */
  user?: string | undefined;
  /** Tokens that may be of either kind. */
  estimatedTokens?: number | undefined;
  estimatedInputTokens?: number | undefined;
  estimatedOutputTokens?: number | undefined;
  /** US dollars. */
  estimatedCostUsd?: number | undefined;
  /** Seconds, 1 to 3600. */
  leaseSeconds?: number | undefined;
}

/** What a request used, as its provider counted it. `tokensUsed` is for whoever knows the sum alone. */
export interface Used {
  tokensUsed?: number | undefined;
  promptTokens?: number | undefined;
  completionTokens?: number | undefined;
  cachedTokens?: number | undefined;
  cacheWriteTokens?: number | undefined;
  cacheWrite1hTokens?: number | undefined;
  reasoningTokens?: number | undefined;
  images?: number | undefined;
  seconds?: number | undefined;
  characters?: number | undefined;
  /** US dollars. */
  costUsd?: number | undefined;
  serviceTier?: string | undefined;
  model?: string | undefined;
}

/** Whether a request may go on, and why not. It never holds the key itself. */
export interface Decision {
  readonly allowed: boolean;
  readonly reason?: string | undefined;
  readonly action: string;
  /** Seconds until it is worth to come back; absent where waiting is no use. */
  readonly retryAfter?: number | undefined;
  readonly keyId?: string | undefined;
  readonly reservationId?: string | undefined;
  /** Keyward decided without its store, or this client without Keyward. */
  readonly degraded: boolean;
  /** Who decided: Keyward, the ban cache, or the client alone (Keyward did not answer, or was not asked). */
  readonly by: 'keyward' | 'cache' | 'client';
}

/** Counts since the start of the client. */
export interface Stats {
  /** Questions that were put to Keyward. */
  asked: number;
  /** Requests that were refused without a question, as the ban of their key is known here. */
  refusedByCache: number;
  /** Questions that Keyward did not answer. */
  unanswered: number;
  /** Records that Keyward has taken. */
  sent: number;
  /** Records that were lost, as too many waited. */
  dropped: number;
  /** Records that Keyward would not take. */
  rejected: number;
}

const STATUS: Record<string, number> = {
  RATE_LIMIT_EXCEEDED: 429,
  BUDGET_EXCEEDED: 429,
  STORE_UNAVAILABLE: 503,
  NO_KEY: 401,
};

const MESSAGES: Record<string, string> = {
  API_KEY_BANNED: 'This API key is banned.',
  IP_BANNED: 'This address is banned.',
  PROJECT_BANNED: 'The project of this API key is banned.',
  RATE_LIMIT_EXCEEDED: 'A rate limit of this API key is reached.',
  BUDGET_EXCEEDED: 'A budget of this API key is spent.',
  KEY_NOT_ALLOWED: 'This API key may not be used for this request.',
  UNKNOWN_KEY: 'This API key is not known.',
  AMBIGUOUS_KEY: 'The request names two different API keys.',
  INVALID_REQUEST: 'The API key or the request cannot be read.',
  STORE_UNAVAILABLE: 'API keys cannot be checked at the moment.',
  NO_KEY: 'The request has no API key.',
};

const KINDS: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
  503: 'api_error',
};

/** The HTTP status of a decision: 200, or 401, 403, 429, 503. */
export function statusOf(decision: Decision): number {
  return decision.allowed ? 200 : (STATUS[decision.reason ?? ''] ?? 403);
}

/** A refusal in a sentence. */
export function messageOf(decision: Decision): string {
  return MESSAGES[decision.reason ?? ''] ?? 'This request is refused.';
}

/** The headers and the body of a refusal, which the SDKs of OpenAI and Anthropic turn into their typed errors. */
export function refusalParts(decision: Decision): { status: number; headers: Record<string, string>; body: string } {
  const status = statusOf(decision);
  const error = { type: KINDS[status], code: decision.reason, message: messageOf(decision) };
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (decision.retryAfter !== undefined) headers['retry-after'] = String(decision.retryAfter);
  else if (status !== 503) headers['x-should-retry'] = 'false';
  return { status, headers, body: JSON.stringify({ type: 'error', error }) };
}

/** A refusal that needs no question. */
export function refusal(reason: string): Decision {
  return { allowed: false, reason, action: 'none', degraded: false, by: 'client' };
}

/** The decision while Keyward does not answer. */
export function withoutKeyward(failOpen: boolean): Decision {
  return {
    allowed: failOpen,
    reason: failOpen ? undefined : 'STORE_UNAVAILABLE',
    action: 'none',
    degraded: true,
    by: 'client',
  };
}

/** The decision in an answer of `POST /v1/check`. */
export function decisionOf(answer: Record<string, unknown>): Decision {
  const text = (name: string) => (typeof answer[name] === 'string' ? (answer[name] as string) : undefined);
  const after = answer['retry_after_seconds'];
  return {
    allowed: answer['allowed'] === true,
    reason: text('reason'),
    action: text('action') ?? 'none',
    retryAfter: typeof after === 'number' ? after : undefined,
    keyId: text('key_id'),
    reservationId: text('reservation_id'),
    degraded: answer['degraded'] === true,
    by: 'keyward',
  };
}

/** A request that may not be made. `decision` says why, and when to come back. */
export class Refused extends Error {
  readonly decision: Decision;

  constructor(decision: Decision) {
    super(`${decision.reason}: ${messageOf(decision)}`);
    this.name = 'Refused';
    this.decision = decision;
  }

  /** The HTTP status of the refusal. */
  get status(): number {
    return statusOf(this.decision);
  }
}
