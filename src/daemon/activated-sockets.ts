/** Listening sockets that systemd, or whoever started us, has opened: which there are, and what each is. */
import { readFileSync, readlinkSync } from 'node:fs';

/** systemd's first. */
const FIRST_FD = 3;

export interface ActivatedSocket {
  readonly fd: number;
  /** A UNIX socket is in /proc/net/unix; all others are of the network. */
  readonly kind: 'unix' | 'tcp';
  /** Its unit's name (`libvirtd-ro.socket`) or its path ends with `-ro`. */
  readonly readOnly: boolean;
}

/** From LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; none where they are meant for another process. */
export function activatedSockets(env: NodeJS.ProcessEnv, pid = process.pid, proc = '/proc'): ActivatedSocket[] {
  const { LISTEN_FDS: count, LISTEN_PID: owner, LISTEN_FDNAMES: names = '' } = env;
  if (count === undefined || !/^\d+$/.test(count) || Number(owner) !== pid) return [];
  const unix = readUnixSockets(`${proc}/net/unix`);
  return Array.from({ length: Number(count) }, (_, index) => {
    const fd = FIRST_FD + index;
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`${proc}/self/fd/${fd}`))?.[1] ?? '';
    const path = unix.get(inode);
    const name = names.split(':')[index] ?? '';
    const readOnly = /-ro(?:\.socket)?$/.test(name) || path?.endsWith('-ro') === true;
    return { fd, kind: path === undefined ? 'tcp' : 'unix', readOnly };
  });
}

/** Paths (empty: it has none) by inode. */
function readUnixSockets(path: string): Map<string, string> {
  const lines = readFileSync(path, 'latin1').split('\n').slice(1);
  // Num RefCount Protocol Flags Type St Inode Path
  return new Map(
    lines.flatMap((line) => {
      const match = /^\S+ \S+ \S+ \S+ \S+ \S+\s+(\d+)(?: (.*))?$/.exec(line);
      return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
    }),
  );
}
