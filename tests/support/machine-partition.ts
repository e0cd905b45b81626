/** libvirt's partition `/machine`, which stays when its guests have gone, whoever has made it: a test takes away what was not there before. */
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

const CGROUPS = '/sys/fs/cgroup';
const PARTITION = 'machine';

/** In each hierarchy that has it. */
export function machinePartitions(): string[] {
  const trees = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const all = [...trees.map(({ name }) => join(CGROUPS, name, PARTITION)), join(CGROUPS, PARTITION)];
  return all.filter((path) => existsSync(path));
}

/** To be made before the guests are, and disposed of when they have gone. */
export class MachinePartition implements Disposable {
  readonly #known = new Set(machinePartitions());

  [Symbol.dispose](): void {
    for (const path of machinePartitions()) if (!this.#known.has(path)) tryRemove(path);
  }
}

/** Whether it is gone. */
export function tryRemove(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    // Not empty yet, which the caller sees.
    return !existsSync(path);
  }
}
