// The application behind the example for Node. The query of a request says how it goes: see application.rs.
import { writeFileSync } from 'node:fs';

export default (req, res) => {
  const mood = req.url.split('?')[1];
  if (mood === 'fail') throw new Error('as asked');
  if (mood === 'hang') return writeFileSync('hanging', '');
  if (mood === 'stream') return res.write('hello');
  if (mood === 'count') res.set('X-Tokens-Used', '7');
  res.status(mood === 'invalid' ? 422 : 200).end('hello');
};
