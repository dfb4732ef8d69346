// The package as it would be published, and its readme.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { it } from 'node:test';
import * as exported from 'keyward';

const here = fileURLToPath(new URL('..', import.meta.url));

it('packs both builds with their types, the licence and the readme, and depends on nothing', () => {
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: here, encoding: 'utf8' }),
  );
  const names = packed.files.map(({ path }) => path);
  for (const name of [
    'dist/esm/index.js',
    'dist/esm/index.d.ts',
    'dist/cjs/index.js',
    'dist/cjs/index.d.ts',
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
  ]) {
    assert.ok(names.includes(name), name);
  }
  assert.ok(!names.some((name) => /^(src|tests|node_modules)\//.test(name)));
  assert.equal(JSON.parse(readFileSync(`${here}/package.json`, 'utf8')).dependencies, undefined);
});

it('has no module that a runtime other than Node lacks', () => {
  const names = execFileSync('ls', [`${here}/dist/esm`], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => name.endsWith('.js'));
  for (const name of names) assert.doesNotMatch(readFileSync(`${here}/dist/esm/${name}`, 'utf8'), /from 'node:/, name);
});

it('exports what the examples of the readme import', () => {
  const readme = readFileSync(`${here}/README.md`, 'utf8');
  const imports = [...readme.matchAll(/import \{ ([^}]+) \} from 'keyward'/g)].flatMap(([, names]) =>
    names.split(', '),
  );
  assert.ok(imports.length > 5);
  for (const name of imports) assert.ok(name in exported, name);
});
