import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { planContainer } from '../plan/container-plan.ts';
import { containerPlaces } from './container-places.ts';
import { letHookOn, makeGate } from './start-gate.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-gate-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('a hook goes on that has not looked for its line when the line is written', async () => {
  const ids = "start='0' target='100000' count='65536'";
  const { domain } = parseDomain(
    `<domain type='lxc'><name>x</name><idmap><uid ${ids}/><gid ${ids}/></idmap><features><privnet/></features></domain>`,
  );
  const places = containerPlaces(dir, { mapped: true });
  const facts = { capabilities: 0n, idOf: () => undefined, deviceOf: () => undefined, initOf: () => undefined };
  const [hook] = planContainer(domain, facts, places).spec.hooks?.createRuntime ?? [];
  if (hook === undefined) throw new Error('no hook is planned');
  await makeGate(places.gate, undefined);
  for (let round = 0; round < 20; round++) {
    await using child = await spawnChild({ command: hook.path, args: hook.args.slice(1), stdio: ['pipe'] });
    child.writable(0).end('{"pid":1}\n');
    await letHookOn(child, places.gate, undefined);
    expect(await child.exited).toMatchObject({ exitCode: 0 });
  }
});
