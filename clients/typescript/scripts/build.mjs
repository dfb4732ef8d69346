// Builds dist/esm and dist/cjs. The compiler is installed here first where it is missing, as `npm install <folder>` does
// not install what a folder is developed with.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
const run = (program, args) => execFileSync(program, args, { cwd: here, stdio: ['ignore', 'inherit', 'inherit'] });

if (!existsSync(`${here}/node_modules/typescript`)) {
  run('npm', [
    'install',
    '--ignore-scripts',
    '--include=dev',
    '--no-audit',
    '--no-fund',
    '--silent',
    '--global=false',
    '--prefix',
    here,
  ]);
}
rmSync(`${here}/dist`, { recursive: true, force: true });
for (const [kind, type] of [
  ['esm', 'module'],
  ['cjs', 'commonjs'],
]) {
  mkdirSync(`${here}/dist/${kind}`, { recursive: true });
  writeFileSync(`${here}/dist/${kind}/package.json`, `{ "type": "${type}" }\n`);
}
const tsc = `${here}/node_modules/typescript/bin/tsc`;
run(process.execPath, [tsc, '-p', 'tsconfig.json', '--outDir', 'dist/esm']);
run(process.execPath, [tsc, '-p', 'tsconfig.cjs.json', '--outDir', 'dist/cjs']);
