/**
 * The /dev of a container that is made before its runtime, which then only binds it: with the link for login programs, which the runtimes can make by
 * a hook alone, at the cost of two programs. They leave a bound /dev as it is, so that all that they would put there is made here.
 */
import type { NurseryFile, NurseryMount } from '../../../process/nursery-words.ts';
import type { OciMount } from './oci-spec.ts';

export interface DevFolder {
  readonly mount: NurseryMount;
  readonly files: readonly NurseryFile[];
}

/** What libvirt calls it. */
export const DEV_NAME = 'devfs';
export const DEV_OPTIONS = ['mode=755', 'size=64k'];
/** Of whoever opens them, as the runtimes make them. */
const NODE_MODE = 0o666;
/** By the OCI specification every container has them; numbers are the kernel's (admin-guide/devices.txt). */
const NODES = [
  { name: 'null', major: 1, minor: 3 },
  { name: 'zero', major: 1, minor: 5 },
  { name: 'full', major: 1, minor: 7 },
  { name: 'random', major: 1, minor: 8 },
  { name: 'urandom', major: 1, minor: 9 },
  { name: 'tty', major: 5, minor: 0 },
];
/** Login programs look for the first console in `/dev/tty1`. */
export const FIRST_TERMINAL = { name: 'tty1', target: 'console' };
const LINKS = [
  FIRST_TERMINAL,
  { name: 'ptmx', target: 'pts/ptmx' },
  { name: 'fd', target: '/proc/self/fd' },
  { name: 'stdin', target: '/proc/self/fd/0' },
  { name: 'stdout', target: '/proc/self/fd/1' },
  { name: 'stderr', target: '/proc/self/fd/2' },
  { name: 'core', target: '/proc/kcore' },
];

/** `at`: a directory on the host. */
export function planDevFolder(at: string): DevFolder {
  return {
    mount: { type: 'tmpfs', name: DEV_NAME, target: at, data: DEV_OPTIONS.join(','), withNodes: true },
    files: [
      ...NODES.map(({ name, major, minor }) => {
        return { kind: 'node', path: `${at}/${name}`, mode: NODE_MODE, major, minor, source: `/dev/${name}` } as const;
      }),
      ...LINKS.map(({ name, target }) => ({ kind: 'link', path: `${at}/${name}`, target }) as const),
      // The runtime binds the terminal there, once that exists.
      { kind: 'file', path: `${at}/console` },
    ],
  };
}

/** In place of the runtime's own. */
export function boundDev(mounts: readonly OciMount[], at: string): OciMount[] {
  return mounts.map((mount) =>
    mount.destination === '/dev' && mount.type === 'tmpfs'
      ? { destination: '/dev', type: 'bind', source: at, options: ['bind', 'nosuid'] }
      : mount,
  );
}
