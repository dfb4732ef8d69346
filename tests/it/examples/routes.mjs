// The application behind the example for Node. The query of a request says how it goes: see application.rs.
import { writeFileSync } from 'node:fs';
import express from 'express';
import { keyward } from './keyward.mjs';

const app = express();
app.use(express.json(), keyward({ failOpen: process.env.FAIL_OPEN === 'true' }));
app.use((req, res) => {
  const mood = req.url.split('?')[1];
  if (mood === 'fail') throw new Error('as asked');
  if (mood === 'hang') return writeFileSync('hanging', '');
  if (mood === 'stream') return res.write('hello');
  if (mood === 'count') res.tokensUsed = 7;
  res.status(mood === 'invalid' ? 422 : 200).end('hello');
});
app.listen(Number(process.env.PORT), '127.0.0.1');
