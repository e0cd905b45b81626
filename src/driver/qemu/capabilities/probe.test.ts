/** The conversation with a binary that misbehaves; what a real QEMU says is in the integration tests. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CapabilitiesProbeError, probeCapabilities } from './probe.ts';
import { CapabilitiesReplyError } from './replies.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-test-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function fakeQemu(body: string): string {
  const path = join(dir, 'qemu-system-x86_64');
  writeFileSync(path, `#!/bin/sh\necho $$ > ${dir}/pid\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

const GREETING = '{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":7},"package":""},"capabilities":[]}}';
/** Greets, then answers every command with an empty object. */
const ANSWER_ALL = `echo '${GREETING}' >&3
while read -r line <&3; do id="\${line##*\\"id\\":}"; echo "{\\"return\\":{},\\"id\\":\${id%%\\}*}}" >&3; done`;

describe('probeCapabilities', () => {
  it("gives QEMU's last words when it dies at once", async () => {
    const qemu = fakeQemu('echo "Could not access KVM kernel module" >&2; exit 1');
    const probe = probeCapabilities({ qemu, accelerator: 'kvm' });
    await expect(probe).rejects.toBeInstanceOf(CapabilitiesProbeError);
    await expect(probe).rejects.toThrow(/exited with status 1: Could not access KVM kernel module/);
  });

  it('gives up a binary that says nothing, and leaves no process', async () => {
    const qemu = fakeQemu('exec sleep 60');
    const probe = probeCapabilities({ qemu, accelerator: 'tcg', timeoutMs: 500 });
    await expect(probe).rejects.toThrow(/no answer within 500 ms/);
    const pid = readFileSync(join(dir, 'pid'), 'utf8').trim();
    expect(() => process.kill(Number(pid), 0)).toThrow(/ESRCH/);
  });

  it('is no timeout when the caller gives up', async () => {
    const controller = new AbortController();
    const probe = probeCapabilities({ qemu: fakeQemu('exec sleep 60'), accelerator: 'tcg', signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(probe).rejects.toThrow('enough');
  });

  it('does not take just any QMP server for QEMU', async () => {
    const probe = probeCapabilities({ qemu: fakeQemu(ANSWER_ALL), accelerator: 'tcg' });
    await expect(probe).rejects.toBeInstanceOf(CapabilitiesReplyError);
  });

  it('names a program that is not there', async () => {
    await expect(probeCapabilities({ qemu: join(dir, 'none'), accelerator: 'tcg' })).rejects.toThrow(/none/);
  });
});
