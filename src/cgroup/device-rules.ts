/** The device nodes that every guest may use, and those that its definition names, as rules by number. */
import { statSync } from 'node:fs';
import type { DeviceRule } from './action.ts';
import { deviceNumbers } from './block-device.ts';

/** libvirt's default `cgroup_device_acl`. */
export const DEFAULT_DEVICE_ACL: readonly string[] = [
  '/dev/null',
  '/dev/full',
  '/dev/zero',
  '/dev/random',
  '/dev/urandom',
  '/dev/ptmx',
  '/dev/kvm',
  '/dev/userfaultfd',
];
/** Pseudo-terminals: they come and go, so they are allowed by their major number. */
const PTY_MAJOR = 136;

/** Rules for these nodes; what does not exist here needs none. */
export function deviceRules(paths: readonly string[]): DeviceRule[] {
  const rules = new Map<string, DeviceRule>();
  for (const path of paths) {
    const rule = ruleOf(path);
    if (rule !== undefined) rules.set(`${rule.type} ${rule.major}:${rule.minor}`, rule);
  }
  return [...rules.values(), { allow: true, type: 'c', major: PTY_MAJOR, access: 'rw' }];
}

function ruleOf(path: string): DeviceRule | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || !(stats.isCharacterDevice() || stats.isBlockDevice())) return undefined;
  return { allow: true, type: stats.isBlockDevice() ? 'b' : 'c', ...deviceNumbers(stats.rdev), access: 'rw' };
}
