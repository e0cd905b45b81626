/** Names below a container's folder, which its start, its runtime and whoever comes later agree on. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RUNTIMES } from '../plan/oci-runtime.ts';

/** On every Linux, an empty directory for everybody that nothing of a container's lies in; of the new /proc. */
const OPEN_PLACE = '/proc/sys/fs/binfmt_misc';

export type ContainerPlaces = ReturnType<typeof containerPlaces>;

/**
 * Where the container's root is another user of the host (`mapped`), that user must be able to walk to its root file system, whatever the folder's
 * modes: it is on a file system of the private mount namespace then.
 */
export function containerPlaces(dir: string, { mapped }: { mapped: boolean }) {
  const bundle = join(dir, 'bundle');
  const open = mapped ? OPEN_PLACE : undefined;
  return {
    bundle,
    open,
    root: join(open ?? bundle, 'rootfs'),
    mount: (index: number): string => join(open ?? dir, `mount${index}`),
    stepsFile: join(dir, 'steps'),
    gate: join(dir, 'gate'),
    outerGate: join(dir, 'outer'),
    stderr: join(dir, 'stderr'),
    emulation: join(dir, 'emulation'),
    namespace: (file: string): string => join(dir, `ns-${file}`),
    terminal: (number: number): string => join(dir, `tty${number}`),
    devFolder: join(dir, 'dev'),
    stateDir: join(dir, 'state'),
    copies: RUNTIMES.map((name) => join(dir, name)),
    consoleSocket: join(dir, 'console'),
    pidFile: join(dir, 'pid'),
  };
}

/** A reboot starts in the folder of the run before, whose traces must not be taken for those of the new one. */
export function forgetFormerRun(places: ContainerPlaces): void {
  const { stateDir, copies, pidFile, consoleSocket, outerGate, gate, bundle } = places;
  if (!existsSync(bundle)) return;
  const traces = [
    stateDir,
    ...copies,
    pidFile,
    consoleSocket,
    outerGate,
    `${gate}.in`,
    `${gate}.out`,
    `${bundle}/attach`,
    `${bundle}/ctl`,
  ];
  for (const path of traces) rmSync(path, { recursive: true, force: true });
}
