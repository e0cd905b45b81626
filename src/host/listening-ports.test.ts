import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readListeningPorts } from './listening-ports.ts';

it('takes listening sockets of both families and nothing else', () => {
  const proc = mkdtempSync(join(tmpdir(), 'ports-'));
  try {
    mkdirSync(join(proc, 'net'));
    const head = '  sl  local_address rem_address   st tx_queue rx_queue\n';
    writeFileSync(
      join(proc, 'net/tcp'),
      `${head}   0: 0100007F:170C 00000000:0000 0A 0:0\n   1: 0100007F:1F90 0100007F:9999 01 0:0\n`,
    );
    writeFileSync(join(proc, 'net/tcp6'), `${head}   0: 00000000000000000000000000000000:0016 0:0000 0A 0:0\n`);
    expect([...readListeningPorts({ proc })]).toEqual([5900, 22]);
    expect(readListeningPorts({ proc: join(proc, 'none') }).size).toBe(0);
  } finally {
    rmSync(proc, { recursive: true });
  }
});
