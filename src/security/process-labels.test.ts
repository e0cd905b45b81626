import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { labelsOfProcess } from './process-labels.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'proc-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

it('are what the kernel says, one for each model of the guest', () => {
  const places = { proc: join(folder, 'proc'), sys: join(folder, 'sys') };
  const read = (...models: string[]) =>
    labelsOfProcess(
      7,
      models.map((model) => ({ model })),
      places,
    );
  expect(read('dac', 'selinux', 'apparmor')).toEqual([]);
  write('proc/7/status', 'Name:\tqemu\nUid:\t107\t107\t107\t107\nGid:\t36\t36\t36\t36\n');
  write('proc/7/attr/current', 'system_u:system_r:svirt_t:s0:c1,c2\0');
  write('sys/fs/selinux/enforce', '1');
  expect(read('selinux', 'dac')).toEqual([
    { model: 'selinux', label: 'system_u:system_r:svirt_t:s0:c1,c2', enforcing: true },
    { model: 'dac', label: '+107:+36', enforcing: false },
  ]);
  write('proc/7/attr/apparmor/current', 'libvirt-a-b (complain)\n');
  expect(read('apparmor')).toEqual([{ model: 'apparmor', label: 'libvirt-a-b', enforcing: false }]);
  expect(labelsOfProcess(7, [{ model: 'dac', type: 'none' }], places)).toEqual([]);
});
