// The clients of OpenAI and Anthropic with a fetch that meters: what answers say is charged, refusals are typed errors.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, it } from 'node:test';
import { Keyward, providerFetch } from 'keyward';
import { eventually, load, newKey, serve, Service } from './service.mjs';

const CHAT = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 };
const MESSAGE = { input_tokens: 5, cache_read_input_tokens: 4, cache_creation_input_tokens: 2, output_tokens: 1 };
const USED = 18;
/** More than is read of one event. */
const LONG = 'x\u00e9'.repeat(1 << 20);
const messages = [{ role: 'user', content: 'hi' }];

const ends = [];
let service;
let client;
let upstream;
const seen = [];

function* chunks(asked) {
  const chunk = (choices, usage) => ({
    id: 'c',
    object: 'chat.completion.chunk',
    created: 1,
    model: asked.model,
    choices,
    usage,
  });
  const word = (content, finish_reason = null) =>
    chunk([{ index: 0, delta: { role: 'assistant', content }, finish_reason }]);
  if (asked.model === 'long') yield word(LONG);
  if (asked.model === 'longest') return yield chunk([{ index: 0, delta: { content: LONG } }], CHAT);
  yield word('hel');
  while (asked.model.includes('endless')) yield word('l');
  yield word('lo\u00e9', 'stop');
  if (asked.stream_options?.include_usage) yield chunk([], CHAT);
  yield '[DONE]';
}

function* message(asked) {
  const whole = {
    id: 'm',
    type: 'message',
    role: 'assistant',
    model: asked.model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: MESSAGE,
  };
  yield { type: 'message_start', message: whole };
  yield { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } };
  yield { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'hello' } };
  yield { type: 'content_block_stop', index: 0 };
  yield { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 7 } };
  yield { type: 'message_stop' };
}

/** Writes events, cut in the middle as networks cut, also within a character. */
async function stream(res, events) {
  res.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const event of events) {
    if (res.destroyed) return;
    const text = typeof event === 'string' ? event : JSON.stringify(event);
    const bytes = Buffer.from(`${event.type ? `event: ${event.type}\n` : ''}data: ${text}\n\n`);
    const middle = bytes.indexOf(0xc3) > 0 ? bytes.indexOf(0xc3) + 1 : bytes.length >> 1;
    for (const part of [bytes.subarray(0, middle), bytes.subarray(middle)]) {
      res.write(part);
      await new Promise((done) => setTimeout(done, 2));
    }
  }
  res.end();
}

before(async () => {
  service = await Service.start({ after: (act) => ends.push(act) });
  client = new Keyward({ url: service.url, timeout: 10_000, watchBans: false, log: () => undefined });
  const port = await serve({ after: (act) => ends.push(act) }, async (req, res) => {
    const parts = [];
    for await (const part of req) parts.push(part);
    if (req.method === 'GET')
      return res.writeHead(200, { 'content-type': 'application/json' }).end('{"object":"list","data":[]}');
    const asked = JSON.parse(Buffer.concat(parts).toString());
    seen.push(asked);
    const whole = (body, status = 200) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (asked.model === 'invalid') return whole({ error: { message: 'as asked' } }, 400);
    if (req.url.endsWith('/messages')) {
      if (asked.stream) return stream(res, message(asked));
      return whole({
        ...[...message(asked)][0].message,
        content: [{ type: 'text', text: 'hello' }],
        usage: { ...MESSAGE, output_tokens: 7 },
      });
    }
    if (asked.stream) return stream(res, chunks(asked));
    return whole({
      id: 'c',
      object: 'chat.completion',
      created: 1,
      model: asked.model,
      choices: [{ index: 0, message: { role: 'assistant', content: 'hello' }, finish_reason: 'stop' }],
      usage: CHAT,
    });
  });
  upstream = `http://127.0.0.1:${port}`;
});
after(() => Promise.all(ends.map((act) => act())));

const chat = (apiKey) => {
  const { OpenAI } = load('openai');
  return new OpenAI({
    apiKey: 'sk-of-the-application',
    baseURL: `${upstream}/v1`,
    fetch: providerFetch(client, { apiKey }),
  });
};
const claude = (apiKey) => {
  const { Anthropic } = load('@anthropic-ai/sdk');
  return new Anthropic({
    apiKey: 'sk-ant-of-the-application',
    baseURL: upstream,
    fetch: providerFetch(client, { apiKey }),
  });
};

describe('the fetch for providers', { concurrency: 4 }, () => {
  it('charges what a plain answer says', async () => {
    const key = newKey();
    const answer = await chat(key).chat.completions.create({ model: 'gpt-4.1', messages, max_tokens: 100 });
    assert.equal(answer.choices[0].message.content, 'hello');
    await service.settled(key, USED);
    assert.equal((await service.usage(key)).output, 7);
  });

  it('charges what a stream says, and passes no event that nobody asked for', async () => {
    const key = newKey();
    const texts = [];
    for await (const chunk of await chat(key).chat.completions.create({ model: 'gpt-4.1', messages, stream: true })) {
      texts.push(chunk.choices[0].delta.content);
    }
    assert.equal(texts.join(''), 'hello\u00e9');
    await service.settled(key, USED);
    const totals = [];
    const asked = { model: 'gpt-4.1', messages, stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await chat(key).chat.completions.create(asked))
      if (chunk.usage) totals.push(chunk.usage.total_tokens);
    assert.deepEqual(totals, [USED], 'who asks for it gets it');
    await service.settled(key, 2 * USED, 2);
  });

  it('passes on an event of any length, and charges what the others say, else the estimate', async () => {
    for (const [model, texts] of [
      ['long', [LONG, 'hel', 'lo\u00e9']],
      ['longest', [LONG]],
    ]) {
      const [key, read] = [newKey(), []];
      const asked = { model, messages, stream: true, max_tokens: 100 };
      const stream = await chat(key).chat.completions.create(asked);
      for await (const chunk of stream) read.push(chunk.choices[0].delta.content);
      assert.ok(read.length === texts.length && read.every((text, at) => text === texts[at]), model);
      await eventually('it is settled', async () => (await service.usage(key)).requests === 1);
      const { tokens } = await service.usage(key);
      assert.ok(model === 'long' ? tokens === USED : tokens > 100, `${model}: ${tokens}`);
    }
  });

  it('asks about a call whatever its model is', async () => {
    const [key, calls] = [newKey(), seen.length];
    await service.ban(key);
    for (const model of [{ toString: 1 }, 5, '']) {
      const asked = chat(key).chat.completions.create({ model, messages });
      await assert.rejects(asked, load('openai').PermissionDeniedError);
    }
    assert.ok(seen.slice(calls).every(({ model }) => typeof model === 'string' && model !== ''));
  });

  it('charges the estimate of a stream that is not read to its end', async () => {
    const key = newKey();
    const answer = await chat(key).chat.completions.create({
      model: 'endless',
      messages,
      stream: true,
      max_tokens: 100,
    });
    let held = 0;
    for await (const _ of answer) {
      held = await service.used(key);
      break;
    }
    assert.ok(held > 100);
    await service.settled(key, held);
  });

  it('charges messages of Anthropic with their cache', async () => {
    const key = newKey();
    await claude(key).messages.create({ model: 'claude-sonnet-4-5', messages, max_tokens: 100 });
    await service.settled(key, USED);
    const text = await claude(key)
      .messages.stream({ model: 'claude-sonnet-4-5', messages, max_tokens: 100 })
      .finalText();
    assert.equal(text, 'hello');
    await service.settled(key, 2 * USED, 2);
    assert.equal((await service.usage(key)).input, 22);
  });

  it('refuses with the errors that users of the clients know, and calls no provider', async () => {
    const [key, calls] = [newKey(), seen.length];
    const { RateLimitError, PermissionDeniedError } = load('openai');
    await assert.rejects(
      chat(key).chat.completions.create({ model: 'refused', messages, max_tokens: 20_000 }),
      (error) => error instanceof RateLimitError && error.code === 'RATE_LIMIT_EXCEEDED',
    );
    await assert.rejects(
      claude(key).messages.create({ model: 'refused', messages, max_tokens: 20_000 }),
      load('@anthropic-ai/sdk').RateLimitError,
    );
    await service.ban(key);
    await assert.rejects(chat(key).chat.completions.create({ model: 'refused', messages }), PermissionDeniedError);
    assert.ok(!seen.slice(calls).some(({ model }) => model === 'refused'));
  });

  it('charges nothing for what the provider refuses, for what never left, and for what asks no model', async () => {
    const key = newKey();
    await assert.rejects(chat(key).chat.completions.create({ model: 'invalid', messages, max_tokens: 100 }), /400/);
    await service.settled(key, 0);
    const { OpenAI } = load('openai');
    const closed = http.createServer().listen(0, '127.0.0.1');
    await new Promise((done) => closed.once('listening', done));
    const baseURL = `http://127.0.0.1:${closed.address().port}/v1`;
    await new Promise((done) => closed.close(done));
    const nowhere = new OpenAI({ apiKey: 'sk', baseURL, maxRetries: 0, fetch: providerFetch(client, { apiKey: key }) });
    await assert.rejects(nowhere.chat.completions.create({ model: 'gpt-4.1', messages }));
    await chat(key).models.list();
    await client.flush(10_000);
    assert.equal(await service.used(key), 0);
    assert.throws(() => providerFetch(client, {}), /keyId/);
  });
});
