/** A plugin for Fastify: `await app.register(keywardFastify, { url, token })`. */

import type { IncomingMessage, ServerResponse } from 'node:http';

import { Guard, type GuardOptions } from './guard.js';
import type { Hold } from './hold.js';
import { enter } from './node.js';

interface Request {
  raw: IncomingMessage;
  body?: unknown;
  ip?: string;
  keyward?: Hold | null;
}

interface Reply {
  raw: ServerResponse;
  hijack(): unknown;
}

/** As much of an instance of Fastify as is used here; its own types are generic in ways that no other can name. */
interface Instance {
  decorateRequest: (...args: never[]) => unknown;
  addHook: (...args: never[]) => unknown;
}

interface Hooks {
  decorateRequest(name: string, value: null): unknown;
  addHook(name: 'preHandler', hook: (request: Request, reply: Reply) => Promise<unknown>): unknown;
  addHook(name: 'onClose', hook: () => Promise<void>): unknown;
}

/** Asks when the body is read and before the handler; `request.keyward` is the handle of a request. */
export async function keywardFastify(instance: Instance, options: GuardOptions = {}): Promise<void> {
  const guard = new Guard(options);
  const hooks = instance as unknown as Hooks;
  hooks.decorateRequest('keyward', null);
  hooks.addHook('preHandler', async (request, reply) => {
    const raw = Object.assign(request.raw, { ip: request.ip });
    const hold = await enter(guard, raw, reply.raw, options.trustedProxies !== undefined, request.body);
    if (!hold) return reply.hijack();
    request.keyward = hold;
    return undefined;
  });
  if (!options.client) hooks.addHook('onClose', async () => void (await guard.client.close(2_000)));
}

// Its hooks are for the whole application, and not for what is registered beside it.
Object.assign(keywardFastify, { [Symbol.for('skip-override')]: true, [Symbol.for('fastify.display-name')]: 'keyward' });
