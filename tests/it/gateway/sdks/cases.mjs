// The SDKs for Node through the gateway: each case prints its name, and the first that fails ends the program.

import assert from 'node:assert';
import { createRequire } from 'node:module';

const require = createRequire(`${process.env.SDKS}/package.json`);
const OpenAI = require('openai');
const Anthropic = require('@anthropic-ai/sdk');
const { GATEWAY: URL, KEY, BANNED, POOR } = process.env;
const CLAUDE = 'claude-sonnet-4-5';

const done = (name) => console.log(name);
const talk = (content) => [{ role: 'user', content }];
const openai = (apiKey = KEY, more = {}) => new OpenAI.OpenAI({ baseURL: `${URL}/v1`, apiKey, ...more });
const anthropic = (apiKey = KEY, more = {}) => new Anthropic.Anthropic({ baseURL: URL, apiKey, ...more });

async function raises(kind, call) {
  const error = await call().then(() => null, (error) => error);
  assert(error instanceof kind, `${kind.name} was not raised, but ${error}`);
  return error;
}

async function all(stream) {
  const events = [];
  for await (const event of await stream) events.push(event);
  return events;
}

async function ofOpenai() {
  const client = openai();
  const create = (content, more = {}, by = client) =>
    by.chat.completions.create({ model: 'gpt-4.1', messages: talk(content), ...more });
  const answer = await create('[mock input=30 output=7]', { max_tokens: 20 });
  assert.equal(answer.usage.prompt_tokens, 30);
  assert(answer.choices[0].message.content.startsWith('word'));
  done('openai chat');
  const { response } = await create('[mock input=30 output=7]', { max_tokens: 20 }).withResponse();
  assert.equal(response.headers.get('x-cost-usd'), '0.000116');
  done('openai headers');
  const chunks = await all(create('[mock output=7]', { stream: true }));
  assert(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('').includes('wörd'));
  done('openai stream');
  const usage = await all(create('[mock output=7]', { stream: true, stream_options: { include_usage: true } }));
  assert.equal(usage.at(-1).usage.completion_tokens, 7);
  done('openai stream with usage');
  const response7 = await client.responses.create({ model: 'gpt-4.1', input: '[mock output=7]' });
  assert.equal(response7.usage.output_tokens, 7);
  done('openai responses');
  const events = await all(client.responses.create({ model: 'gpt-4.1', input: '[mock output=7]', stream: true }));
  assert.equal(events.at(-1).type, 'response.completed');
  done('openai responses stream');
  const embedding = await client.embeddings.create({ model: 'text-embedding-3-small', input: '[mock input=9]' });
  assert.deepEqual([...embedding.data[0].embedding], [0.25, -0.5, 0.75]);
  done('openai embeddings');
  const unknown = await raises(OpenAI.AuthenticationError, () => create('hi', {}, openai('kwk_nobody-knows-it')));
  assert.equal(unknown.code, 'invalid_api_key');
  done('openai unknown key');
  await raises(OpenAI.PermissionDeniedError, () => create('hi', {}, openai(BANNED)));
  done('openai banned key');
  const poor = await raises(OpenAI.RateLimitError, () => create('hi', {}, openai(POOR)));
  assert.equal(poor.code, 'insufficient_quota');
  done('openai budget');
  await raises(OpenAI.NotFoundError, () => create('hi', { model: 'nobody-serves-it' }));
  done('openai unknown model');
  await raises(OpenAI.BadRequestError, () => create('word '.repeat(2000), { model: 'small' }));
  done('openai context length');
  const once = openai(KEY, { maxRetries: 0 });
  await raises(OpenAI.RateLimitError, () => create('[mock status=429 retry_after=60]', {}, once));
  done("openai provider's limit");
  for (const [name, text] of [['cut', '[mock cut=5 events=20]'], ['failing', '[mock error_after=3]']]) {
    await raises(OpenAI.APIError, () => all(create(text, { stream: true })));
    done(`openai ${name} stream`);
  }
  const impatient = openai(KEY, { timeout: 500, maxRetries: 0 });
  await raises(OpenAI.APIConnectionTimeoutError, () => create('[mock delay_ms=60000]', {}, impatient));
  done('openai timeout');
  const stream = await create('[mock events=2000 event_delay_ms=20]', { stream: true });
  for await (const _ of stream) break;
  done('openai cancel');
}

async function ofAnthropic() {
  const client = anthropic();
  const create = (content, more = {}, by = client) =>
    by.messages.create({ model: CLAUDE, max_tokens: 20, messages: talk(content), ...more });
  const answer = await create('[mock input=30 output=7 cached=10]');
  assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [20, 7]);
  done('anthropic message');
  const events = await all(create('[mock output=7]', { stream: true }));
  assert.equal(events.at(-1).type, 'message_stop');
  done('anthropic stream');
  const message = await client.messages.stream({ model: CLAUDE, max_tokens: 20, messages: talk('[mock output=7]') })
    .finalMessage();
  assert.equal(message.usage.output_tokens, 7);
  done('anthropic stream helper');
  const counted = await client.messages.countTokens({ model: CLAUDE, messages: talk('[mock input=77]') });
  assert.equal(counted.input_tokens, 77);
  done('anthropic count tokens');
  await raises(Anthropic.AuthenticationError, () => create('hi', {}, anthropic('kwk_nobody-knows-it')));
  done('anthropic unknown key');
  await raises(Anthropic.PermissionDeniedError, () => create('hi', {}, anthropic(BANNED)));
  done('anthropic banned key');
  await raises(Anthropic.RateLimitError, () => create('hi', {}, anthropic(POOR)));
  done('anthropic budget');
  await raises(Anthropic.NotFoundError, () => create('hi', { model: 'nobody-serves-it' }));
  done('anthropic unknown model');
  const once = anthropic(KEY, { maxRetries: 0 });
  await raises(Anthropic.RateLimitError, () => create('[mock status=429 retry_after=60]', {}, once));
  done("anthropic provider's limit");
  for (const [name, text] of [['cut', '[mock cut=6 events=20]'], ['failing', '[mock error_after=5]']]) {
    await raises(Anthropic.APIError, () => all(create(text, { stream: true })));
    done(`anthropic ${name} stream`);
  }
  const impatient = anthropic(KEY, { timeout: 500, maxRetries: 0 });
  await raises(Anthropic.APIConnectionTimeoutError, () => create('[mock delay_ms=60000]', {}, impatient));
  done('anthropic timeout');
  const stream = await create('[mock events=2000 event_delay_ms=20]', { stream: true });
  for await (const _ of stream) break;
  done('anthropic cancel');
}

await ofOpenai();
await ofAnthropic();
