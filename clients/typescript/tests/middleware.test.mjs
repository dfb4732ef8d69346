// The same questions to the middleware in each framework, before the real Keyward.
import assert from 'node:assert/strict';
import { describe, it, before, after } from 'node:test';
import { handleOf, keyward, withKeyward } from 'keyward';
import { applications, reached } from './applications.mjs';
import { ask, eventually, leave, load, newKey, serve, Service } from './service.mjs';

const QUESTION = JSON.stringify({ model: 'gpt-4.1', max_tokens: 100 });
const HELD = 100 + Math.ceil(Buffer.byteLength(QUESTION) / 3);
const CHAT = '/v1/chat/completions';
const silent = () => undefined;
/** Bodies that fail whoever reads them without care, and the tokens of an answer that are held for each. */
const HOSTILE = {
  'a number beyond all bounds': { body: `{"model":"gpt-4.1","max_tokens":1${'0'.repeat(400)}}`, output: 4096 },
  'a model that is no name': { body: '{"model":{"toString":1},"max_tokens":100}', output: 100 },
  'lists in lists': { body: `{"model":"gpt-4.1","x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, output: 4096 },
};

const ends = [];
const shared = { after: (act) => ends.push(act) };
let service;
before(async () => (service = await Service.start(shared)));
after(() => Promise.all(ends.map((act) => act())));

for (const [name, application] of Object.entries(applications)) {
  describe(name, { concurrency: 4 }, () => {
    const start = (t, options = {}) =>
      application(t, { url: service.url, timeout: 10_000, watchBans: false, log: silent, ...options });

    it('refuses a banned key in every header and spelling', async (t) => {
      const [port, key] = [await start(t), newKey()];
      const spellings = [
        ['authorization', `Bearer ${key}`],
        ['Authorization', `bEaReR \t ${key}`],
        ['x-api-key', key],
        ['X-Api-Key', key],
        ['api-key', key],
        ['x-goog-api-key', key],
      ];
      for (const [header, value] of spellings)
        assert.equal((await ask(port, '/hello', { [header]: value })).status, 200);
      await service.ban(key);
      for (const [header, value] of spellings) {
        const reply = await ask(port, '/hello', { [header]: value });
        assert.deepEqual([reply.status, reply.code()], [403, 'API_KEY_BANNED'], `${header}`);
        assert.ok(reply.headers['retry-after'] >= 500 && reply.headers['retry-after'] <= 600);
        assert.ok(!reply.raw.toString().includes(key));
      }
      assert.equal((await ask(port, '/hello', { 'x-api-key': newKey() })).status, 200, 'another key');
    });

    it('lets one key pass however often it is named, and refuses two', async (t) => {
      const [port, key, other] = [await start(t), newKey(), newKey()];
      const bearer = `Bearer ${key}`;
      const passes = [
        {},
        { 'x-api-key': '', authorization: '' },
        { authorization: bearer, 'x-api-key': key, 'api-key': key },
        { authorization: bearer, 'x-api-key': '' },
        { 'x-api-key': [key, key] },
        { 'x-api-key': `${key},` },
      ];
      for (const headers of passes)
        assert.equal((await ask(port, '/hello', headers)).status, 200, JSON.stringify(headers));
      const refused = [
        [{ authorization: bearer, 'x-api-key': other }, 'AMBIGUOUS_KEY'],
        [{ 'x-api-key': key, 'api-key': other }, 'AMBIGUOUS_KEY'],
        [{ 'x-api-key': [key, other] }, 'AMBIGUOUS_KEY'],
        [{ 'x-api-key': `${key}, ${other}` }, 'AMBIGUOUS_KEY'],
        [{ authorization: `Basic ${key}` }, 'INVALID_REQUEST'],
        [{ authorization: key }, 'INVALID_REQUEST'],
        [{ authorization: `Basic ${key}`, 'x-api-key': key }, 'INVALID_REQUEST'],
        [{ authorization: `Bearer ${key} ${other}` }, 'INVALID_REQUEST'],
        [{ 'x-api-key': 'sk-live-4f9\u00e9' }, 'INVALID_REQUEST'],
        [{ 'x-api-key': 'k'.repeat(513) }, 'INVALID_REQUEST'],
      ];
      for (const [headers, code] of refused) {
        const reply = await ask(port, '/hello', headers);
        assert.deepEqual([reply.status, reply.code()], [403, code], JSON.stringify(headers));
      }
    });

    it('tells a limited key when to come back, and holds nothing for what asks no model', async (t) => {
      const [port, key] = [await start(t), newKey()];
      await service.spend(key, 9_999);
      const reply = await ask(port, CHAT, { 'x-api-key': key }, QUESTION);
      assert.deepEqual([reply.status, reply.code()], [429, 'RATE_LIMIT_EXCEEDED']);
      assert.ok(reply.headers['retry-after'] >= 1 && reply.headers['retry-after'] <= 61);
      assert.equal((await ask(port, '/hello', { 'x-api-key': key })).status, 200);
    });

    it('charges what was used, and takes out the header that says so', async (t) => {
      const port = await start(t);
      const keys = { count: newKey(), handle: newKey(), invalid: newKey(), fail: newKey() };
      const replies = {};
      for (const [mood, key] of Object.entries(keys))
        replies[mood] = await ask(port, `${CHAT}?${mood}`, { 'x-api-key': key }, QUESTION);
      assert.deepEqual(
        Object.values(replies).map((reply) => reply.status),
        [200, 200, 422, 500],
      );
      assert.equal(replies.count.headers['x-tokens-used'], undefined);
      await service.settled(keys.count, 7);
      await service.settled(keys.handle, 9);
      await service.settled(keys.invalid, 0);
      await service.settled(keys.fail, HELD);
      assert.deepEqual((await service.usage(keys.count)).models, ['gpt-4.1']);
    });

    it('charges what was held where the client leaves midway', async (t) => {
      const [port, key] = [await start(t), newKey()];
      await leave(port, `${CHAT}?stream`, key, QUESTION);
      await service.settled(key, HELD);
    });

    it('gives the body to the application unchanged', async (t) => {
      const [port, key] = [await start(t, { mostBody: 300_000 }), newKey()];
      for (const body of [
        '{}',
        '{"model":"gpt-4.1"}',
        `{"a":"${'x'.repeat(200_000)}"}`,
        `{"a":"${'x'.repeat(400_000)}"}`,
      ]) {
        const reply = await ask(port, '/echo?echo', { 'x-api-key': key }, body);
        assert.deepEqual([reply.status, reply.raw.toString() === body], [200, true], `${body.length} bytes`);
      }
    });

    it('asks nothing about routes that are left out', async (t) => {
      const [port, key] = [await start(t, { exclude: ['/healthz', '/assets/*'] }), newKey()];
      await service.ban(key);
      for (const path of ['/healthz', '/assets/a/b.css'])
        assert.equal((await ask(port, path, { 'x-api-key': key })).status, 200, path);
      for (const path of ['/hello', '/healthz/', '/assets//x', '/assets/%2e%2e/hello']) {
        // What an URL resolves before a handler sees it is judged as what it is.
        assert.equal((await ask(port, path, { 'x-api-key': key })).status, 403, path);
      }
    });

    it('finds the client behind trusted proxies, and believes nobody else', async (t) => {
      const [key, banned] = [newKey(), `198.51.100.${1 + Math.floor(Math.random() * 250)}`];
      await service.call('PUT', `/v1/bans/ip:${banned}`, { duration_seconds: 600, reason: 'abuse' });
      const headers = { 'x-api-key': key, 'x-forwarded-for': `203.0.113.9, ${banned}, 10.1.2.3` };
      const behind = await start(t, { trustedProxies: ['127.0.0.0/8', '10.0.0.0/8'] });
      const reply = await ask(behind, '/hello', headers);
      assert.deepEqual([reply.status, reply.code()], [403, 'IP_BANNED']);
      assert.equal(
        (await ask(behind, '/hello', { ...headers, 'x-forwarded-for': `${banned}, 203.0.113.9` })).status,
        200,
      );
      assert.equal((await ask(await start(t), '/hello', headers)).status, 200, 'nobody is trusted');
    });

    it('lets through or refuses each route as it is told, while Keyward is away', async (t) => {
      const [own, key] = [await Service.start(t), newKey()];
      const port = await start(t, { url: own.url, timeout: 500, failOpen: ['/open/*'] });
      // Within the deadline, which a busy machine may miss at first.
      await eventually(
        'there is Keyward',
        async () => (await ask(port, '/closed', { 'x-api-key': key })).status === 200,
      );
      await own.kill();
      const reply = await ask(port, '/closed', { 'x-api-key': key });
      assert.deepEqual([reply.status, reply.code()], [503, 'STORE_UNAVAILABLE']);
      assert.equal((await ask(port, '/open/a?count', { 'x-api-key': key })).status, 200);
      assert.equal((await ask(port, '/closed')).status, 200, 'without a key');
      await own.start();
      await eventually('what was let through is reported', async () => (await own.usage(key)).tokens === 7);
      await own.ban(key);
      await eventually(
        'Keyward is back',
        async () => (await ask(port, '/open/a', { 'x-api-key': key })).status === 403,
      );
    });

    it('holds an estimate of ones own, and refuses without a key where one is required', async (t) => {
      const key = newKey();
      const port = await start(t, {
        estimatedTokens: (request) => (request.path === '/paint' ? 50 : undefined),
        requireKey: true,
      });
      await ask(port, '/paint?fail', { 'x-api-key': key });
      await service.settled(key, 50);
      await ask(port, '/hello?fail', { 'x-api-key': key });
      await service.settled(key, 50, 2);
      const reply = await ask(port, '/hello');
      assert.deepEqual([reply.status, reply.code()], [401, 'NO_KEY']);
      assert.equal(
        (await ask(await start(t, { estimatedTokens: 20_000 }), '/hello', { 'x-api-key': key })).status,
        429,
      );
    });

    it('takes the estimate from the request where one of its own fails, and asks about it', async (t) => {
      const broken = () => {
        throw new Error('broken');
      };
      for (const estimatedTokens of [broken, () => NaN]) {
        const [port, key] = [await start(t, { estimatedTokens }), newKey()];
        assert.equal((await ask(port, `${CHAT}?fail`, { 'x-api-key': key }, QUESTION)).status, 500);
        await service.settled(key, HELD);
        await service.ban(key);
        assert.equal((await ask(port, '/hello', { 'x-api-key': key })).status, 403);
      }
    });

    it('lets no banned key pass by what its body says, and holds what a good one asks for', async (t) => {
      const port = await start(t, { failOpen: true });
      for (const [what, { body, output }] of Object.entries(HOSTILE)) {
        const [key, held] = [newKey(), Math.ceil(body.length / 3) + output];
        const reply = await ask(port, `${CHAT}?fail`, { 'x-api-key': key }, body);
        if (held > 10_000) {
          assert.deepEqual([reply.status, reply.code()], [429, 'RATE_LIMIT_EXCEEDED'], what);
        } else {
          assert.equal(reply.status, 500, `${what}: the application had it`);
          await service.settled(key, held);
        }
        await service.ban(key);
        const banned = await ask(port, CHAT, { 'x-api-key': key }, body);
        assert.deepEqual([banned.status, banned.code()], [403, 'API_KEY_BANNED'], what);
      }
    });

    it('looks at a key in the query where its parameter is named', async (t) => {
      const [port, key] = [await start(t, { keyQueries: ['key'] }), newKey()];
      assert.equal((await ask(port, `/hello?key=${key}`)).status, 200);
      assert.equal((await ask(port, `/hello?key=&key=${key}`, { 'x-api-key': key })).status, 200);
      assert.equal((await ask(port, `/hello?key=${key}`, { 'x-api-key': newKey() })).code(), 'AMBIGUOUS_KEY');
      for (const value of ['two+words', '%ff', '%C3%A9', 'k'.repeat(513)])
        assert.equal((await ask(port, `/hello?key=${value}`)).code(), 'INVALID_REQUEST', value);
      await service.ban(key);
      for (const query of [`key=${key}`, `a=b&k%65y=+${key}`, `a;key=${key}`]) {
        const reply = await ask(port, `/hello?${query}`);
        assert.deepEqual([reply.status, reply.code()], [403, 'API_KEY_BANNED'], query);
        assert.ok(!reply.raw.toString().includes(key));
      }
      // Express reads the first, and Fastify the second, as the key alone.
      for (const target of [`/hello?key=${key}#a`, `/hello#key=${key}`])
        assert.equal((await ask(port, target)).status, 403, target);
      assert.equal((await ask(await start(t), `/hello?key=${key}`)).status, 200, 'no parameter is named');
    });

    it('charges what was held where the client leaves before the answer', async (t) => {
      const [port, key] = [await start(t), newKey()];
      const path = `/${key}`;
      await leave(port, `${path}?hang`, key, QUESTION, new Promise((done) => reached.set(path, done)));
      await service.settled(key, HELD);
    });
  });
}

describe('Hono', () => {
  it('is guarded by its fetch, and what waits is sent with the request', async () => {
    const { Hono } = load('hono');
    const app = new Hono();
    app.post('/chat', async (c) => {
      assert.equal((await c.req.json()).max_tokens, 100);
      handleOf(c.req.raw).used({ promptTokens: 4, completionTokens: 5 });
      return c.text('hello');
    });
    const guarded = withKeyward((request, env, context) => app.fetch(request, env, context), {
      url: service.url,
      timeout: 10_000,
      watchBans: false,
    });
    const [key, work] = [newKey(), []];
    const context = { waitUntil: (promise) => work.push(promise), passThroughOnException: () => undefined };
    const ask = () =>
      guarded(
        new Request('http://localhost/chat', {
          method: 'POST',
          headers: { authorization: `Bearer ${key}` },
          body: QUESTION,
        }),
        {},
        context,
      );
    assert.equal(await (await ask()).text(), 'hello');
    await Promise.all(work);
    assert.equal((await service.usage(key)).tokens, 9, 'it is sent when the work of the request has ended');
    await service.ban(key);
    const refused = await ask();
    assert.deepEqual([refused.status, (await refused.json()).error.code], [403, 'API_KEY_BANNED']);
  });
});

describe('a handler of fetch', () => {
  const guarded = (handler, more = {}) =>
    withKeyward(handler, { url: service.url, timeout: 10_000, watchBans: false, log: silent, failOpen: true, ...more });
  const asked = (key, body) =>
    new Request('http://localhost/chat', {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      body,
      duplex: 'half',
    });
  const never = () => assert.fail('the handler must not have it');

  it('does not have what cannot be read, even where it fails open', async () => {
    const breaks = new ReadableStream({ pull: (controller) => controller.error(new Error('as asked')) });
    for (const answer of [
      await guarded(never)(asked(newKey(), breaks)),
      await guarded(never, { clientIp: () => assert.fail('as asked') })(asked(newKey(), QUESTION)),
    ]) {
      assert.deepEqual([answer.status, (await answer.json()).error.code], [403, 'INVALID_REQUEST']);
    }
  });

  it('is asked about where its body is read already, as what names no cap', async () => {
    const key = newKey();
    const read = async () => {
      const request = asked(key, QUESTION);
      await request.text();
      return request;
    };
    const handler = () => new Response('hello', { status: 500 });
    const guard = guarded(handler, { mostTokens: 200 });
    assert.equal(await (await guard(await read())).text(), 'hello');
    await service.settled(key, 200);
    await service.ban(key);
    assert.equal((await guarded(never)(await read())).status, 403);
  });

  it('settles where its client leaves before it answers, and has left before it is called', async () => {
    const [early, midway] = [new AbortController(), new AbortController()];
    for (const left of [early, midway]) {
      const key = newKey();
      const request = new Request(asked(key, QUESTION), { signal: left.signal });
      if (left === early) left.abort();
      const work = [];
      const handler = () => (left.abort(), new Promise(() => undefined));
      void guarded(handler)(request, { waitUntil: (promise) => work.push(promise) });
      await service.settled(key, HELD);
      await Promise.all(work);
      assert.equal(work.length, 1);
    }
  });
});

describe('Express', () => {
  it('refuses what cannot be read, even where it fails open', async (t) => {
    const app = load('express')();
    app.set('trust proxy', () => assert.fail('as asked'));
    app.use(keyward({ url: service.url, timeout: 10_000, watchBans: false, log: silent, failOpen: true }));
    app.use((_req, res) => res.end('hello'));
    const port = await serve(t, app);
    const headers = { 'x-api-key': newKey(), 'x-forwarded-for': '203.0.113.7' };
    const reply = await ask(port, '/hello', headers);
    assert.deepEqual([reply.status, reply.code()], [403, 'INVALID_REQUEST']);
    assert.equal((await ask(port, '/hello')).status, 200, 'without a key nothing is asked');
  });
});

describe('plain http', () => {
  it('takes the header out of a head that is written at once, in each of its forms', async (t) => {
    const port = await applications.http(t, { url: service.url, timeout: 10_000, watchBans: false });
    for (const mood of ['head', 'pairs']) {
      const key = newKey();
      const reply = await ask(port, `/hello?${mood}`, { 'x-api-key': key });
      assert.deepEqual(
        [reply.status, reply.headers['x-tokens-used'], reply.headers['x-more']],
        [200, undefined, mood === 'pairs' ? 'yes' : undefined],
      );
      await service.settled(key, 7);
    }
  });

  it('takes a body of unknown length for one that names no cap, and asks in the name of no model', async (t) => {
    const [port, key] = [
      await applications.http(t, { url: service.url, timeout: 10_000, watchBans: false, mostTokens: 200 }),
      newKey(),
    ];
    const { key_id } = await service.check(key);
    await service.call('PUT', `/v1/keys/${key_id}`, { label: 'of a test', allowed_models: ['gpt-4.1'] });
    const headers = { 'x-api-key': key, 'transfer-encoding': 'chunked' };
    const http = await import('node:http');
    const status = await new Promise((done) => {
      const request = http.request(
        { port, host: '127.0.0.1', path: '/chat?fail', method: 'POST', headers, agent: false },
        (answer) => (answer.resume(), done(answer.statusCode)),
      );
      request.end(QUESTION);
    });
    assert.equal(status, 500, 'the application had it');
    await service.settled(key, 200);
    assert.deepEqual((await service.usage(key)).models, []);
  });
});
