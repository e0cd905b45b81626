import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseDomain } from '../model/domain/domain.ts';
import { realHost } from './finding.ts';
import { checkPorts } from './guest-ports.ts';

let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'ports-'));
  mkdirSync(join(proc, 'net'));
});
afterEach(() => rmSync(proc, { recursive: true }));

const HEADER = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state = '0A'): string =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 0 0 1\n`;

function check(devices: string, tcp: readonly string[] = [], tcp6: readonly string[] = []): string[] {
  writeFileSync(join(proc, 'net/tcp'), HEADER + tcp.join(''));
  writeFileSync(join(proc, 'net/tcp6'), HEADER + tcp6.join(''));
  const xml = `<domain type='qemu'><name>x</name><memory>1024</memory><os><type>hvm</type></os><devices>${devices}</devices></domain>`;
  return checkPorts({ ...realHost(), proc }, parseDomain(xml).domain).map(
    ({ verdict, title, fact }) => `${verdict} ${title}: ${fact}`,
  );
}

const VNC = "<graphics type='vnc' port='5900' autoport='no'";

describe('ports of a definition', () => {
  it.each([
    ['the same address', line('0100007F:170C'), 'fail vnc display: port 5900 is taken: something listens on 127.0.0.1'],
    ['all addresses', line('00000000:170C'), 'fail vnc display: port 5900 is taken: something listens on 0.0.0.0'],
    ['another address', line('0200007F:170C'), 'pass ports: free: 5900'],
    ['another port', line('0100007F:170D'), 'pass ports: free: 5900'],
    ['a connection, no listener', line('0100007F:170C', '01'), 'pass ports: free: 5900'],
  ])('%s', (_, socket, said) => expect(check(`${VNC}/>`, [socket])).toEqual([said]));

  it('are looked for in both families', () => {
    const any = line(`${'0'.repeat(32)}:170C`);
    expect(check(`${VNC}/>`, [], [any])).toEqual([expect.stringContaining('listens on ::')]);
    const one = line('00000000000000000000000001000000:170C');
    expect(check(`${VNC} listen='::1'/>`, [], [one])).toEqual([expect.stringContaining('listens on ::1')]);
    expect(check(`${VNC}/>`, [], [one])).toEqual(['pass ports: free: 5900']);
    const mapped = line('0000000000000000FFFF00000100007F:170C');
    expect(check(`${VNC}/>`, [], [mapped])).toEqual([expect.stringContaining('127.0.0.1')]);
  });

  it('are those of listening serial ports and forwards too', () => {
    const serial = "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='4000'/></serial>";
    expect(check(serial, [line('0100007F:0FA0')])).toEqual([expect.stringContaining('fail serial port: port 4000')]);
    expect(check(serial.replace('bind', 'connect'), [line('0100007F:0FA0')])).toEqual([]);
    const forward = `<interface type='user'><backend type='passt'/><portForward proto='tcp'><range start='2000' end='2010'/></portForward></interface>`;
    expect(check(forward, [line('0100007F:07D5')])).toEqual([expect.stringContaining('fail port forward: port 2005')]);
    expect(check(forward)).toEqual(['pass ports: free: 2000, 2001, 2002, 2003, 2004, and 6 more']);
  });

  it('that QEMU is to choose, or that are sockets, are not asked', () => {
    expect(check("<graphics type='vnc' port='-1' autoport='yes'/>")).toEqual([]);
    expect(check("<graphics type='vnc'><listen type='socket' socket='/tmp/x'/></graphics>")).toEqual([]);
  });
});
