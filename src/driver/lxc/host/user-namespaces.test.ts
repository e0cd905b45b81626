import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requireUserNamespaces } from './user-namespaces.ts';

let procRoot = '';
beforeEach(() => {
  procRoot = mkdtempSync(join(tmpdir(), 'userns-'));
  mkdirSync(join(procRoot, 'sys/user'), { recursive: true });
});
afterEach(() => rmSync(procRoot, { recursive: true, force: true }));

it.each([
  ['63470\n', undefined],
  ['0\n', /max_user_namespaces is 0; as root: sysctl -w user.max_user_namespaces/],
  [undefined, /this kernel has none/],
])('max_user_namespaces %j', (content, message) => {
  if (content !== undefined) writeFileSync(join(procRoot, 'sys/user/max_user_namespaces'), content);
  const ask = (): void => requireUserNamespaces({ procRoot });
  if (message === undefined) expect(ask).not.toThrow();
  else expect(ask).toThrow(message);
});
