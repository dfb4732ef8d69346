// The package as it would be published, and its readme.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { it } from 'node:test';
import * as exported from 'keyward';
import { folderOf } from './service.mjs';

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

it('has types that programs of users hold, as either kind of module', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keyward-types-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true });
  const link = (name, path) => symlinkSync(path, join(folder, 'node_modules', name));
  link('keyward', here);
  link('@types/node', join(here, 'node_modules/@types/node'));
  for (const name of ['fastify', 'hono', 'openai']) link(name, folderOf(name));
  for (const name of ['user.mts', 'user.cts']) copyFileSync(join(here, 'tests/types', name), join(folder, name));
  const options = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--skipLibCheck', '--module', 'nodenext'];
  options.push('--target', 'es2022', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable', '--types', 'node');
  const tsc = join(here, 'node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...options, 'user.mts', 'user.cts'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
});
