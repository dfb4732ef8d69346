// The client against the real Keyward: what is held, what is charged, what waits, and what is never said.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import net from 'node:net';
import { after, before, describe, it } from 'node:test';
import { promisify, inspect } from 'node:util';
import { Keyward, Refused, statusOf } from 'keyward';
import { eventually, load, newKey, Service } from './service.mjs';

const ASKED = { sourceIp: '127.0.0.1', endpoint: '/v1/chat/completions', model: 'gpt-4.1' };
const ends = [];
let service;
let client;
before(async () => {
  service = await Service.start({ after: (act) => ends.push(act) });
  client = new Keyward({ url: service.url, timeout: 10_000, watchBans: false, log: () => undefined });
});
after(() => Promise.all(ends.map((act) => act())));

describe('the client', { concurrency: 6 }, () => {
  it('says whether a request may be made, and holds nothing', async () => {
    const apiKey = newKey();
    const decision = await client.check({ apiKey, ...ASKED, estimatedTokens: 500 });
    assert.deepEqual([decision.allowed, statusOf(decision), decision.by], [true, 200, 'keyward']);
    assert.equal(await service.used(apiKey), 0);
    await service.ban(apiKey);
    const refused = await client.check({ apiKey, ...ASKED });
    assert.deepEqual([refused.allowed, statusOf(refused), refused.reason], [false, 403, 'API_KEY_BANNED']);
  });

  it('charges what a block used and gives the rest back', async () => {
    const apiKey = newKey();
    const result = await client.with(
      { apiKey, ...ASKED, estimatedInputTokens: 100, estimatedOutputTokens: 400 },
      async (hold) => {
        assert.equal(await service.used(apiKey), 500);
        hold.used({ promptTokens: 80, completionTokens: 20 });
        return 'done';
      },
    );
    assert.equal(result, 'done');
    await service.settled(apiKey, 100);
    assert.equal((await service.usage(apiKey)).output, 20);
  });

  it('charges the estimate where a block fails, or says nothing', async () => {
    const apiKey = newKey();
    const fails = client.with({ apiKey, ...ASKED, estimatedTokens: 100 }, () => {
      throw new TypeError('as asked');
    });
    await assert.rejects(fails, TypeError);
    await client.with({ apiKey, ...ASKED, estimatedTokens: 100 }, () => undefined);
    await service.settled(apiKey, 200, 2);
  });

  it('charges the estimate of a stream that nobody reads to its end', async () => {
    const apiKey = newKey();
    const words = () =>
      client.stream({ apiKey, ...ASKED, estimatedTokens: 300 }, async function* (hold) {
        yield 'a';
        yield 'b';
        hold.used(2);
      });
    for await (const word of words()) if (word === 'a') break;
    await service.settled(apiKey, 300);
    const all = [];
    for await (const word of words()) all.push(word);
    assert.deepEqual(all, ['a', 'b']);
    await service.settled(apiKey, 302, 2);
  });

  it('gives back what never left, and charges what was dispatched', async () => {
    const apiKey = newKey();
    const asked = { apiKey, ...ASKED, estimatedTokens: 500 };
    await assert.rejects(
      client.with(
        asked,
        () => {
          throw new Error('before');
        },
        { dispatched: false },
      ),
    );
    await eventually('it is given back', async () => (await service.used(apiKey)) === 0);
    (await client.reserve(asked)).release();
    await eventually('it is given back', async () => (await service.used(apiKey)) === 0);
    await assert.rejects(
      client.with(
        asked,
        (hold) => {
          hold.dispatch();
          throw new Error('after');
        },
        { dispatched: false },
      ),
    );
    await service.settled(apiKey, 500);
  });

  it('charges what is held where the process ends before it settles', async () => {
    const apiKey = newKey();
    await client.reserve({ apiKey, ...ASKED, estimatedTokens: 50, leaseSeconds: 1 });
    await service.settled(apiKey, 50);
  });

  it('throws what a refusal says, without the key', async () => {
    const apiKey = newKey();
    const error = await client.reserve({ apiKey, ...ASKED, estimatedTokens: 10_001 }).catch((refused) => refused);
    assert.ok(error instanceof Refused && error.status === 429);
    assert.ok(!inspect(error, { depth: 9 }).includes(apiKey));
  });

  it('waits until there is room, until the deadline, and not at all where it is no use', async () => {
    const apiKey = newKey();
    const patient = new Keyward({ url: service.url, timeout: 10_000, watchBans: false, log: () => undefined });
    const asked = { apiKey, ...ASKED, estimatedTokens: 9_000 };
    const first = await patient.reserve(asked);
    await assert.rejects(patient.acquire(asked, { deadline: 3_000 }), Refused);
    const already = patient.stats.asked;
    assert.ok(already >= 3, 'it has asked more than once');
    const later = patient.acquire(asked, { deadline: 60_000 });
    await eventually('it was refused twice', () => patient.stats.asked >= already + 3);
    first.release();
    const hold = await later;
    hold.used(5);
    hold.settle();
    await service.settled(apiKey, 5);
    await service.ban(apiKey);
    const before = patient.stats.asked;
    await assert.rejects(patient.acquire(asked, { deadline: 60_000 }), /API_KEY_BANNED/);
    assert.equal(patient.stats.asked, before + 1);
  });

  it('holds nothing by an answer that comes too late', async (t) => {
    const apiKey = newKey();
    let release;
    const released = new Promise((done) => (release = done));
    const late = net.createServer((near) => {
      const far = net.connect(new URL(service.url).port, '127.0.0.1');
      near.pipe(far).on('error', () => near.destroy());
      far.on('data', (bytes) => void released.then(() => near.writable && near.write(bytes)));
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('close', () => near.destroy());
    });
    await new Promise((done) => late.listen(0, '127.0.0.1', done));
    t.after(() => late.close());
    const url = `http://127.0.0.1:${late.address().port}`;
    const impatient = new Keyward({ url, timeout: 300, watchBans: false, log: () => undefined });
    const hold = await impatient.reserve({ apiKey, ...ASKED, estimatedTokens: 1_000 });
    assert.deepEqual([hold.decision.degraded, hold.decision.by], [true, 'client']);
    await eventually('it is held all the same', async () => (await service.used(apiKey)) === 1_000);
    hold.used(7);
    hold.settle();
    release();
    await service.settled(apiKey, 7);
    assert.equal(impatient.stats.unanswered, 1);
  });

  it('answers as it is told while Keyward is away, and sends what waited when it is back', async (t) => {
    const [own, apiKey] = [await Service.start(t), newKey()];
    const alone = new Keyward({ url: own.url, timeout: 1_000, watchBans: false, log: () => undefined });
    await own.kill();
    assert.equal((await alone.check({ apiKey, ...ASKED })).allowed, true);
    const closed = await alone.check({ apiKey, ...ASKED }, { failOpen: false });
    assert.deepEqual([closed.allowed, statusOf(closed), closed.reason], [false, 503, 'STORE_UNAVAILABLE']);
    await alone.with({ apiKey, ...ASKED, estimatedTokens: 40 }, () => undefined);
    alone.record({ apiKey, endpoint: '/', sourceIp: '127.0.0.1', tokensUsed: 2 });
    await own.start();
    assert.equal(await alone.flush(20_000), true);
    await own.settled(apiKey, 42, 2);
  });

  it('refuses what Keyward cannot read, even where it fails open', async () => {
    const decision = await client.check({ apiKey: 'two words', ...ASKED });
    assert.deepEqual([decision.allowed, statusOf(decision), decision.reason], [false, 403, 'INVALID_REQUEST']);
  });

  it('refuses a question that cannot be written, even where it fails open', async () => {
    const before = client.stats.unanswered;
    const decision = await client.check({ apiKey: newKey(), ...ASKED, projectId: 5n }, { failOpen: true });
    assert.deepEqual([decision.allowed, decision.reason], [false, 'INVALID_REQUEST']);
    assert.equal(client.stats.unanswered, before);
  });

  it('names the program of the client in questions and records, within bounds', async () => {
    const sent = [];
    const listening = (url, init) => (sent.push(init.body), fetch(url, init));
    const own = new Keyward({ url: service.url, timeout: 10_000, watchBans: false, fetch: listening });
    for (const userAgent of ['openai-node/7.59.0', '\u00e9'.repeat(600), '']) {
      sent.length = 0;
      await own.with({ apiKey: newKey(), ...ASKED, userAgent, user: 'ada' }, () => undefined);
      assert.equal(await own.flush(10_000), true);
      const [question, record] = sent.map((body) => [JSON.parse(body)].flat()[0]);
      assert.deepEqual([question.user_agent, record.user_agent], [userAgent.slice(0, 512), userAgent.slice(0, 512)]);
      assert.deepEqual([question.user, record.user], [undefined, 'ada'], 'a question has no end user');
    }
    assert.deepEqual([own.stats.rejected, own.stats.unanswered], [0, 0]);
  });

  it('counts what is lost and what is not taken', async (t) => {
    const said = [];
    const own = await Service.start(t);
    const small = new Keyward({ url: own.url, maxWaiting: 5, watchBans: false, log: (message) => said.push(message) });
    const apiKey = newKey();
    small.record({ apiKey, endpoint: '/', sourceIp: 'nowhere' });
    small.record({ apiKey, endpoint: '/', sourceIp: '127.0.0.1', tokensUsed: 2 });
    assert.equal(await small.flush(10_000), true);
    assert.deepEqual([small.stats.rejected, small.stats.sent], [1, 1]);
    await own.kill();
    for (let n = 0; n < 20; n++) small.record({ apiKey, endpoint: '/', sourceIp: '127.0.0.1' });
    assert.deepEqual([small.waiting, small.stats.dropped], [5, 15]);
    assert.equal(await small.flush(100), false);
    assert.ok(said.length > 0 && !said.join().includes(apiKey));
  });

  it('sends what waits when the process ends, in either kind of module', async () => {
    for (const [kind, begin] of [
      ['module', "import { Keyward } from 'keyward'"],
      ['commonjs', "const { Keyward } = require('keyward')"],
    ]) {
      const apiKey = newKey();
      const script = `${begin}; const client = new Keyward({ url: '${service.url}' });
        const report = { apiKey: '${apiKey}', endpoint: '/', sourceIp: '127.0.0.1', tokensUsed: 1 };
        for (let n = 0; n < 300; n++) client.record(report);`;
      const cwd = new URL('..', import.meta.url);
      await promisify(execFile)(process.execPath, [`--input-type=${kind}`, '-e', script], { cwd });
      await service.settled(apiKey, 300, 300);
    }
  });

  it('shows no secret', async () => {
    const apiKey = newKey();
    const hidden = new Keyward({ url: service.url, token: 'kw_id.secret', watchBans: false, timeout: 10_000 });
    const hold = await client.reserve({ apiKey, ...ASKED });
    for (const shown of [hidden, hold, hold.decision]) {
      const text = inspect(shown, { depth: 9, showHidden: true }) + JSON.stringify(shown);
      assert.ok(!text.includes('secret') && !text.includes(apiKey));
    }
    hold.release();
    assert.throws(() => new Keyward({ url: 'http://user:secret@127.0.0.1:1' }), /token/);
    assert.throws(() => new Keyward({ url: '127.0.0.1:8080' }), /http/);
  });
});

describe('the ban cache', { concurrency: 4 }, () => {
  const asked = { sourceIp: '127.0.0.1', endpoint: '/hello' };

  async function watching(t) {
    const own = await Service.start(t);
    const watcher = new Keyward({ url: own.url, timeout: 10_000, log: () => undefined });
    t.after(() => watcher.close());
    await watcher.check({ apiKey: 'sk-first', ...asked });
    await eventually('the stream is heard', () => watcher.knowsBans);
    return [own, watcher];
  }

  const byCache = async (watcher, apiKey) => (await watcher.check({ apiKey, ...asked })).by === 'cache';

  it('refuses a banned key without a call', async (t) => {
    const [own, watcher] = await watching(t);
    const apiKey = newKey();
    assert.equal((await watcher.check({ apiKey, ...asked })).allowed, true);
    await own.ban(apiKey);
    await eventually('the ban is heard', () => byCache(watcher, apiKey));
    const [calls, { asked: before }] = [await own.checks(), { ...watcher.stats }];
    for (let n = 0; n < 200; n++) {
      const decision = await watcher.check({ apiKey, ...asked });
      assert.deepEqual([statusOf(decision), decision.reason], [403, 'API_KEY_BANNED']);
      assert.ok(decision.retryAfter >= 500 && decision.retryAfter <= 600);
    }
    assert.equal(watcher.stats.asked, before);
    assert.equal(await own.checks(), calls, 'Keyward has heard of none of them');
  });

  it('asks once about a key that is banned already', async (t) => {
    const [own, watcher] = await watching(t);
    const apiKey = newKey();
    await own.ban(apiKey, null);
    assert.equal((await watcher.check({ apiKey, ...asked })).by, 'keyward');
    const decision = await watcher.check({ apiKey, ...asked });
    assert.deepEqual([decision.by, decision.action, decision.retryAfter], ['cache', 'permanent_ban', undefined]);
  });

  it('forgets a ban that is lifted, and all bans where the policy observes', async (t) => {
    const [own, watcher] = await watching(t);
    const apiKey = newKey();
    await watcher.check({ apiKey, ...asked });
    const keyId = await own.ban(apiKey);
    await eventually('the ban is heard', () => byCache(watcher, apiKey));
    await own.lift(keyId);
    await eventually('the lifting is heard', async () => (await watcher.check({ apiKey, ...asked })).allowed);
    await own.ban(apiKey);
    await eventually('the ban is heard', () => byCache(watcher, apiKey));
    await own.call('PUT', '/v1/policy', { ...(await own.call('GET', '/v1/policy')), enforcement: 'observe' });
    await eventually('the policy is heard', async () => (await watcher.check({ apiKey, ...asked })).allowed);
  });

  it('forgets what was lifted, and hears what was banned, while the stream was broken', async (t) => {
    const [own, watcher] = await watching(t);
    const [lifted, banned] = [newKey(), newKey()];
    await watcher.check({ apiKey: lifted, ...asked });
    await watcher.check({ apiKey: banned, ...asked });
    const keyId = await own.ban(lifted);
    await eventually('the ban is heard', () => byCache(watcher, lifted));
    await own.kill();
    await eventually('nothing is known while the stream is broken', () => !watcher.knowsBans);
    await own.start();
    await own.lift(keyId);
    await own.ban(banned);
    await eventually('the stream is heard again', () => watcher.knowsBans);
    await eventually('the lifting is heard', async () => (await watcher.check({ apiKey: lifted, ...asked })).allowed);
    await eventually('the ban is heard', () => byCache(watcher, banned));
  });
});

it('can be required', () => {
  assert.equal(typeof load('keyward').keyward, 'function');
});
