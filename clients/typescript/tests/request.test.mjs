// What is read of a request, without Keyward.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { clients } from '../dist/esm/address.js';
import { estimate } from '../dist/esm/request.js';

it('holds what names its model in the path or a cap alone', () => {
  const [gemini, azure] = ['/v1beta/models/gemini-2.5-flash', '/openai/deployments/of-ours/chat/completions'];
  const model = 'gemini-2.5-flash';
  for (const [path, body, wanted] of [
    [`${gemini}:generateContent`, { generationConfig: { maxOutputTokens: 400 } }, { outputTokens: 400, model }],
    [`${gemini}:streamGenerateContent`, { contents: [] }, { outputTokens: 4096, model }],
    [`${gemini}:countTokens`, { contents: [] }, { outputTokens: 0, model }],
    [azure, { max_tokens: 9 }, { outputTokens: 9 }],
    [azure, { messages: [], model: null }, { outputTokens: 4096 }],
    ['/anything', { max_tokens: 9 }, { outputTokens: 9 }],
  ])
    assert.deepEqual(estimate(body, 16, path, 4096), { inputTokens: 6, ...wanted }, path);
  assert.deepEqual(estimate({ name: 'a' }, 16, '/models/7', 4096), { inputTokens: 0, outputTokens: 0 });
});

it('reads what stands in quotes as no separator, and passes over empty elements', () => {
  const of = (header, line) => clients(['10.0.0.0/8'], header)('10.0.0.1', [line]);
  for (const line of [
    'for=203.0.113.7;ext="a, for=1.1.1.1"',
    'ext="a;for=1.1.1.1";for=203.0.113.7',
    'ext="a\\", for=1.1.1.1";for=203.0.113.7, for=10.1.1.1',
    'for=", for=203.0.113.7',
    ', for=203.0.113.7,',
  ])
    assert.equal(of('forwarded', line), '203.0.113.7', line);
  assert.equal(of('x-forwarded-for', '203.0.113.7, ,'), '203.0.113.7');
});
