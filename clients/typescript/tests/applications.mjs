// The same application for each framework. The query says how a request goes.
import { Readable } from 'node:stream';
import { keyward, keywardFastify, withKeyward, handleOf } from 'keyward';
import { load, serve } from './service.mjs';

/** Told when a request hangs, by its path. */
export const reached = new Map();
const hangs = (path) => reached.get(path)?.();

async function* words() {
  for (;;) {
    yield 'hello';
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** A handler of plain `http`. */
async function answer(req, res) {
  const [path, mood] = req.url.split('?');
  const parts = [];
  for await (const part of req) parts.push(part);
  if (mood === 'fail') return res.writeHead(500).end();
  if (mood === 'hang') return hangs(path);
  if (mood === 'stream')
    return Readable.from(words())
      .on('error', () => undefined)
      .pipe(res);
  if (mood === 'handle') req.keyward.used({ promptTokens: 4, completionTokens: 5 });
  if (mood === 'head') return res.writeHead(200, { 'X-Tokens-Used': '7' }).end('hello');
  if (mood === 'pairs') return res.writeHead(200, ['X-Tokens-Used', '7', 'x-more', 'yes']).end('hello');
  if (mood === 'count') res.setHeader('X-Tokens-Used', 7);
  res.statusCode = mood === 'invalid' ? 422 : 200;
  res.end(mood === 'echo' ? Buffer.concat(parts) : 'hello');
}

async function plain(t, options) {
  const guard = keyward(options);
  return serve(t, (req, res) => guard(req, res, () => answer(req, res)));
}

/** Express: the guard reads the body itself, or finds it read (`before`), or gives it to the parser behind it (`behind`). */
function express(parser) {
  return async (t, options) => {
    const framework = load('express');
    const app = framework();
    const json = framework.json({ limit: '1mb' });
    const guard = keyward(options);
    app.use(...{ none: [guard], before: [json, guard], behind: [guard, json] }[parser]);
    app.use(async (req, res) => {
      const mood = req.url.split('?')[1];
      if (mood === 'fail') throw new Error('as asked');
      if (parser !== 'none') req[Symbol.asyncIterator] = async function* () {};
      if (parser !== 'none' && mood === 'echo') return res.json(req.body);
      return answer(req, res);
    });
    app.use((_error, _req, res, _next) => res.status(500).end());
    return serve(t, app);
  };
}

async function fastify(t, options) {
  const app = load('fastify')();
  await app.register(keywardFastify, options);
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, async (_, body) => body);
  app.all('/*', async (request, reply) => {
    const [path, mood] = request.url.split('?');
    if (mood === 'fail') throw new Error('as asked');
    if (mood === 'hang') return (hangs(path), new Promise(() => undefined));
    if (mood === 'stream') return reply.send(Readable.from(words()));
    if (mood === 'handle') request.keyward.used({ promptTokens: 4, completionTokens: 5 });
    if (mood === 'count') reply.header('X-Tokens-Used', '7');
    return reply.code(mood === 'invalid' ? 422 : 200).send(mood === 'echo' ? request.body : 'hello');
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  t.after(() => (app.server.closeAllConnections?.(), app.close()));
  return app.server.address().port;
}

/** A handler of `fetch`, behind a server that makes a Request of what arrives, as adapters do. */
async function fetchHandler(t, options) {
  const handler = withKeyward(
    async (request) => {
      const { pathname, search } = new URL(request.url);
      const mood = search.slice(1);
      const body = request.body ? await request.arrayBuffer() : undefined;
      if (mood === 'fail') throw new Error('as asked');
      if (mood === 'hang') return (hangs(pathname), new Promise(() => undefined));
      if (mood === 'stream') return new Response(Readable.toWeb(Readable.from(words(), { objectMode: false })));
      if (mood === 'handle') handleOf(request).used({ promptTokens: 4, completionTokens: 5 });
      const headers = mood === 'count' ? { 'X-Tokens-Used': '7' } : {};
      return new Response(mood === 'echo' ? body : 'hello', { status: mood === 'invalid' ? 422 : 200, headers });
    },
    { ...options, clientIp: (_request, peer) => peer },
  );
  return serve(t, async (req, res) => {
    const headers = new Headers();
    for (let at = 0; at < req.rawHeaders.length; at += 2) headers.append(req.rawHeaders[at], req.rawHeaders[at + 1]);
    const body = ['GET', 'HEAD'].includes(req.method) ? undefined : Readable.toWeb(req);
    const left = new AbortController();
    res.on('close', () => res.writableFinished || left.abort());
    const how = { method: req.method, headers, body, duplex: 'half', signal: left.signal };
    const request = new Request(`http://127.0.0.1${req.url}`, how);
    try {
      const response = await handler(request, req.socket.remoteAddress);
      res.writeHead(response.status, Object.fromEntries(response.headers));
      if (!response.body) return res.end();
      const reader = response.body.getReader();
      res.on('close', () => reader.cancel().catch(() => undefined));
      for (let part = await reader.read(); !part.done; part = await reader.read()) res.write(part.value);
      res.end();
    } catch {
      res.writeHead(500).end();
    }
  });
}

export const applications = {
  http: plain,
  express: express('none'),
  'express with a body parser before': express('before'),
  'express with a body parser behind': express('behind'),
  fastify,
  fetch: fetchHandler,
};
