import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { activatedSockets } from './activated-sockets.ts';

describe('activatedSockets', () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
    mkdirSync(join(proc, 'net'));
    mkdirSync(join(proc, 'self/fd'), { recursive: true });
    writeFileSync(
      join(proc, 'net/unix'),
      `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 1000 /run/libvirt/libvirt-sock
0000000000000000: 00000002 00000000 00010000 0001 01 1001 /run/libvirt/libvirt-sock-ro
0000000000000000: 00000003 00000000 00000000 0001 03  1002
`,
    );
    [1000, 1001, 2000, 1002].forEach((inode, index) => {
      symlinkSync(`socket:[${inode}]`, join(proc, `self/fd/${3 + index}`));
    });
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  it('tells UNIX sockets from those of the network, and read-only ones by their path or unit', () => {
    const env = { LISTEN_PID: '7', LISTEN_FDS: '4', LISTEN_FDNAMES: 'a:b:libvirtd-tcp.socket:virtqemud-ro.socket' };
    expect(activatedSockets(env, 7, proc)).toEqual([
      { fd: 3, kind: 'unix', readOnly: false },
      { fd: 4, kind: 'unix', readOnly: true },
      { fd: 5, kind: 'tcp', readOnly: false },
      { fd: 6, kind: 'unix', readOnly: true },
    ]);
  });

  it('takes none that are for another process', () => {
    expect(activatedSockets({ LISTEN_PID: '8', LISTEN_FDS: '2' }, 7, proc)).toEqual([]);
    expect(activatedSockets({ LISTEN_FDS: '2' }, 7, proc)).toEqual([]);
    expect(activatedSockets({ LISTEN_PID: '7', LISTEN_FDS: 'x' }, 7, proc)).toEqual([]);
  });
});
