/** The security labels that a running guest's process really has, as the kernel says. Reads only. */
import { readFileSync } from 'node:fs';
import type { GuestLabel } from './label-plan.ts';
import { formatOwner } from './user-names.ts';

export interface ProcessLabel {
  readonly model: string;
  readonly label: string;
  /** The kernel refuses what the label does not allow; false where it only says so, and for users. */
  readonly enforcing: boolean;
}

/** One for each model that the guest's definition has; a process that is gone has none. */
export function labelsOfProcess(
  pid: number,
  wanted: readonly GuestLabel[],
  { proc = '/proc', sys = '/sys' }: { readonly proc?: string; readonly sys?: string } = {},
): ProcessLabel[] {
  return wanted.flatMap(({ model, type }): ProcessLabel[] => {
    if (type === 'none') return [];
    switch (model) {
      case 'dac': {
        const status = read(`${proc}/${pid}/status`);
        const [uid, gid] = ['Uid', 'Gid'].map((key) => new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(status)?.[1]);
        if (uid === undefined || gid === undefined) return [];
        return [{ model, label: formatOwner({ uid: Number(uid), gid: Number(gid) }), enforcing: false }];
      }
      case 'selinux': {
        const label = read(`${proc}/${pid}/attr/current`);
        return label === '' ? [] : [{ model, label, enforcing: read(`${sys}/fs/selinux/enforce`) === '1' }];
      }
      case 'apparmor': {
        const current = read(`${proc}/${pid}/attr/apparmor/current`) || read(`${proc}/${pid}/attr/current`);
        const [, label = '', mode] = /^(.*?)(?: \((\w+)\))?$/.exec(current) ?? [];
        return label === '' ? [] : [{ model, label, enforcing: mode === 'enforce' }];
      }
      default:
        return [];
    }
  });
}

/** Absent: the process is gone, or the kernel has no such module. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/\0.*$/s, '').trim();
  } catch {
    return '';
  }
}
