// A program of a user: it is compiled and not run.
import { createServer } from 'node:http';
import fastify from 'fastify';
import { Hono } from 'hono';
import OpenAI from 'openai';
import {
  handleOf,
  Keyward,
  keyward,
  keywardFastify,
  providerFetch,
  Refused,
  withKeyward,
  type Decision,
  type WithKeyward,
} from 'keyward';
const guard = keyward({ url: 'http://x', exclude: ['/healthz'], failOpen: ['/a'], estimatedTokens: (r) => r.bytes });
createServer((req, res) =>
  guard(req, res, () => {
    (req as typeof req & WithKeyward).keyward?.used(3);
    res.end();
  }),
);
const app = fastify();
await app.register(keywardFastify, { url: 'http://x' });
const hono = new Hono();
export default {
  fetch: withKeyward((request: Request) => hono.fetch(request), { clientIp: (r) => r.headers.get('x') }),
};
const client = new Keyward();
const n: number = await client.with({ keyId: 'a' }, async (hold) => {
  hold.used({ promptTokens: 1 });
  return 3;
});
for await (const word of client.stream({ keyId: 'a' }, async function* () {
  yield 'a';
}))
  console.log(word.length, n);
const d: Decision = await client.check({ apiKey: 'x' });
console.log(d.allowed, new Refused(d).status, handleOf(new Request('http://x')));
new OpenAI({ apiKey: 'x', fetch: providerFetch(client, { keyId: 'a' }) });
