/**
 * Debian's virsh, unchanged, against our daemon; what it prints is compared with what it prints of a real libvirtd, where that is
 * installed. A difference that stays has its reason here.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';

const run = promisify(execFile);
const UUID = '7d9f3c52-3b5a-4a52-9d1c-0f4e5a6b7c8d';
const SECRET = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';

/** `DIR` stands for the folder of the test's files. In this order: later commands find what earlier ones have done. */
const SESSION = `
version
hostname
nodeinfo
maxvcpus kvm
list --all
define DIR/vg.xml
list --all
list --all --name
list --inactive --uuid
dominfo vg
domstate --reason vg
domid vg
domuuid vg
domname ${UUID}
autostart vg
dominfo vg
autostart --disable vg
desc vg
desc vg --config --title Short
desc vg --config --title
desc vg --config Words
desc vg --config
vcpucount vg
setvcpus vg 1 --config
vcpucount vg
setvcpus vg 2 --config
setmaxmem vg 80M --config
setmem vg 70M --config
dominfo vg
vcpupin vg
emulatorpin vg
memtune vg
numatune vg
domblklist vg
domblkinfo vg vda
domiflist vg
start vg
ttyconsole vg
list
domstate --reason vg
domid vg
vcpucount vg
vcpupin vg
vcpupin vg 0 0
vcpupin vg
emulatorpin vg 0-1
emulatorpin vg
domblkinfo vg vda
domblkerror vg
domiflist vg
domif-getlink vg 52:54:00:11:22:33
domif-setlink vg 52:54:00:11:22:33 down
domcontrol vg
domjobinfo vg
memtune vg --hard-limit 1G --config
blkdeviotune vg vda
attach-disk vg DIR/disk.raw vdb --live --targetbus virtio
domblklist vg
domblkinfo vg vdb
attach-device vg DIR/usb.xml --live
detach-device vg DIR/usb.xml --live
attach-device vg DIR/nic.xml --config
domiflist vg --inactive
detach-device vg DIR/nic.xml --config
send-key vg KEY_A
inject-nmi vg
qemu-monitor-command vg --hmp info status
metadata vg http://farm.example/1
metadata vg http://farm.example/1 --key x --set <app/>
metadata vg http://farm.example/1
suspend vg
domstate --reason vg
resume vg
reset vg
undefine vg
list --all --transient
define DIR/vg.xml
save vg DIR/vg.save
domstate --reason vg
restore DIR/vg.save
domstate --reason vg
managedsave vg
list --all --managed-save
undefine vg
start vg
domstate --reason vg
dump vg DIR/vg.dump --memory-only
managedsave-remove vg
destroy vg
domstate --reason vg
start vg --paused
domstate --reason vg
destroy vg
create DIR/nothing.xml
start nope
secret-define DIR/secret.xml
secret-list
secret-set-value ${SECRET} c2VjcmV0
secret-get-value ${SECRET}
secret-dumpxml ${SECRET}
secret-undefine ${SECRET}
domrename vg vg2
domname ${UUID}
undefine vg2
list --all
undefine nope
`
  .trim()
  .split('\n');

/** Where the words differ, and why that is so. Both fail or both succeed. */
const DIFFERENT: Readonly<Record<string, string>> = {
  nodeinfo: 'this libvirtd sees the memory of its container only',
};

interface Answer {
  readonly command: string;
  readonly text: string;
  readonly failed: boolean;
}

let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'virsh-'));
  const image = await bootSectorImage('echo');
  const nic = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>";
  const xml = domainXml({
    name: 'vg',
    uuid: UUID,
    vcpus: 2,
    disks: [{ path: image, readonly: true }],
    devices: `<video><model type='vga'/></video>${nic}`,
  }).replace("<memballoon model='none'/>", "<memballoon model='virtio'/>");
  writeFileSync(join(dir, 'vg.xml'), xml);
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(1024 * 1024), { mode: 0o666 });
  writeFileSync(join(dir, 'usb.xml'), "<input type='tablet' bus='usb'/>");
  writeFileSync(
    join(dir, 'nic.xml'),
    "<interface type='user'><mac address='52:54:00:11:22:44'/><model type='virtio'/></interface>",
  );
  writeFileSync(
    join(dir, 'secret.xml'),
    `<secret ephemeral='no' private='no'><uuid>${SECRET}</uuid><usage type='ceph'><name>vs</name></usage></secret>`,
  );
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function session(uri: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const command of SESSION) {
    const words = command.split(' ').map((word) => word.replace('DIR', dir));
    try {
      const { stdout, stderr } = await run('virsh', ['-c', uri, ...words], { timeout: 60_000 });
      answers.push({ command, text: plain(stdout + stderr), failed: false });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      answers.push({ command, text: plain(stdout + stderr), failed: true });
    }
  }
  return answers;
}

/** Without what is different each time. */
function plain(text: string): string {
  return text
    .replaceAll(/\d+\.\d+s/g, 'Ns')
    .replaceAll(/\/dev\/pts\/\d+/g, '/dev/pts/N')
    .replaceAll(/[ \t]+/g, ' ')
    .trim();
}

const EXPECTED_FAILURES = [
  'metadata vg http://farm.example/1',
  'undefine vg',
  'create DIR/nothing.xml',
  'start nope',
  'undefine nope',
];

describe('virsh', () => {
  let ours: Answer[];
  beforeAll(async () => {
    await using daemon = await startDaemon();
    ours = await session(daemon.uri);
  });

  it('does everything with our daemon', () => {
    const failed = ours.filter((answer) => answer.failed).map(({ command, text }) => `${command}: ${text}`);
    expect(failed.filter((line) => !EXPECTED_FAILURES.some((command) => line.startsWith(`${command}:`)))).toEqual([]);
  });

  it.skipIf(!hasLibvirtd())('is told the same by libvirtd', async () => {
    await using libvirtd = await startLibvirtd();
    const theirs = await session(libvirtd.uri);
    const differences = ours.flatMap((answer, index) => {
      const other = theirs[index];
      if (other === undefined || answer.command in DIFFERENT) return [];
      return answer.text === other.text && answer.failed === other.failed
        ? []
        : [`${answer.command}\n--- ours\n${answer.text}\n--- libvirtd's\n${other.text}`];
    });
    expect(differences).toEqual([]);
  });
});
