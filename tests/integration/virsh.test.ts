/**
 * Debian's virsh, unchanged, against our daemon; what it prints is compared with what it prints of a real libvirtd, where that is
 * installed. A difference that stays has its reason here.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';
import { pollUntil } from '../support/poll.ts';

const run = promisify(execFile);
const UUID = '7d9f3c52-3b5a-4a52-9d1c-0f4e5a6b7c8d';
const SECRET = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';

/** `DIR` stands for the folder of the test's files, `WAIT` waits until the guest's firmware is done. In this order: later commands find what earlier ones have done. */
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
domxml-from-native qemu-argv DIR/vg.xml
domxml-from-native vmx DIR/vg.xml
domrename vg vg
edit vg
edit vg
dumpxml vg --xpath //on_reboot
setvcpu vg 1 --disable --config
setvcpu vg 0 --disable --config
setvcpu vg 7 --enable --config
dumpxml vg --xpath //vcpus
setvcpu vg 1 --enable --config
iothreadadd vg 2 --config
iothreaddel vg 2 --config
schedinfo vg --config
blkiotune vg --weight 300 --config
blkiotune vg --config
define DIR/vg.xml
domiftune vg 52:54:00:11:22:33 --inbound 100 --config
numatune vg --nodeset 0 --config
define DIR/vg.xml
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
domdisplay vg
domdisplay vg --include-password
vncdisplay vg
screenshot vg DIR/screen
change-media vg sda DIR/medium.iso --insert --live
change-media vg sda --eject --live
change-media vg sda DIR/medium.iso --update --live
change-media vg sda --eject --force --live
domblklist vg --details
update-device vg DIR/cdrom.xml --live
domblklist vg
domblkstat vg vda
domblkstat vg vda --human
domstats vg --state
domstats vg --iothread
domstats vg --dirtyrate
domstats vg --nowait --balloon
dommemstat vg
dommemstat vg --period 5 --live
iothreadinfo vg
iothreadadd vg 3 --live
iothreadpin vg 3 0 --live
iothreadset vg 3 --poll-max-ns 100 --live
iothreaddel vg 3 --live
domjobabort vg
domlaunchsecinfo vg
domdirtyrate-calc vg --seconds 1
set-lifecycle-action vg crash restart --live
set-lifecycle-action vg reboot bogus --live
guestinfo vg
domfsinfo vg
domtime vg
qemu-agent-command vg {"execute":"guest-ping"}
qemu-monitor-command vg {"execute":"query-kvm"} --return-value
event vg --event lifecycle --timeout 1
detach-device-alias vg ua-extra --live
blkdeviotune vg vda --total-bytes-sec 1000000 --live
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
domblkthreshold vg vdb 1000
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
WAIT
undefine vg
list --all --transient
define DIR/vg.xml
save vg DIR/vg.save
domstate --reason vg
save-image-dumpxml DIR/vg.save --xpath //name
save-image-edit DIR/vg.save
save-image-define DIR/vg.save DIR/vg.xml
save-image-dumpxml DIR/nothing.save
restore DIR/vg.save
domstate --reason vg
managedsave vg
list --all --managed-save
managedsave-dumpxml vg --xpath //name
managedsave-edit vg
domrename vg vg2
undefine vg
start vg
domstate --reason vg
dump vg DIR/vg.dump --memory-only
dump vg DIR/vg.core --live
domstate --reason vg
dump vg DIR/vg.core --format kdump-zlib
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

/** Where the words differ, and why that is so. */
const DIFFERENT: Readonly<Record<string, string>> = {
  nodeinfo: 'this libvirtd sees the memory of its container only',
  'guestinfo vg': 'ours says what to do',
  'domfsinfo vg': 'ours says what to do',
  'domtime vg': 'ours says what to do',
  'qemu-agent-command vg {"execute":"guest-ping"}': 'ours says what to do',
  'detach-device-alias vg ua-extra --live': 'ours says that a device is missing by its code',
  'domiftune vg 52:54:00:11:22:33 --inbound 100 --config': 'ours says why',
  'save-image-define DIR/vg.save DIR/vg.xml': 'ours names every difference',
  'save-image-dumpxml DIR/nothing.save': "the system's words",
  'dump vg DIR/vg.core --format kdump-zlib': 'ours says what to do',
  'domrename vg vg2': 'ours says what to do where there is a managed save',
  'set-lifecycle-action vg reboot bogus --live': 'ours',
};

interface Answer {
  readonly command: string;
  readonly text: string;
  readonly failed: boolean;
}

const CDROM =
  "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>SOURCE<target dev='sda' bus='sata'/><readonly/></disk>";
const AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
const VNC = "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1' passwd='sesame'/>";
/** What `edit` does. */
const EDITOR = 'sed -i -e s/on_reboot.restart/on_reboot\\>destroy/';

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
    devices: `${CDROM.replace('SOURCE', '')}${AGENT}${VNC}<video><model type='vga'/></video>${nic}`,
  }).replace("<memballoon model='none'/>", "<memballoon model='virtio'/>");
  writeFileSync(join(dir, 'vg.xml'), xml);
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(1024 * 1024), { mode: 0o666 });
  writeFileSync(join(dir, 'medium.iso'), Buffer.alloc(1024 * 1024), { mode: 0o666 });
  writeFileSync(join(dir, 'cdrom.xml'), CDROM.replace('SOURCE', `<source file='${join(dir, 'medium.iso')}'/>`));
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
    if (command === 'WAIT') {
      await untilBooted(uri);
      continue;
    }
    const words = command.split(' ').map((word) => word.replace('DIR', dir));
    try {
      const { stdout, stderr } = await run('virsh', ['-c', uri, ...words], {
        timeout: 60_000,
        env: { ...process.env, EDITOR },
      });
      answers.push({ command, text: plain(stdout + stderr), failed: false });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      answers.push({ command, text: plain(stdout + stderr), failed: true });
    }
  }
  return answers;
}

/** SeaBIOS resets the machine once more after a reset, which must not happen when another action is in force. The boot sector is at 7c00. */
async function untilBooted(uri: string): Promise<void> {
  const ask = ['-c', uri, 'qemu-monitor-command', 'vg', '--hmp', 'info registers'];
  await pollUntil(
    async () => /E?IP=0*7[cd][\da-f]{2}\b/i.test((await run('virsh', ask)).stdout),
    'the guest does not boot again',
    { timeoutMs: 30_000 },
  );
}

/** Without what is different each time. */
function plain(text: string): string {
  return text
    .replaceAll(/\d+\.\d+s/g, 'Ns')
    .replaceAll(/\/dev\/pts\/\d+/g, '/dev/pts/N')
    .replaceAll(/(127\.0\.0\.1|localhost):\d+/g, '$1:N')
    .replaceAll(/(_times|\(ns\):|rss=?|last_update)(\s*)\d+/g, '$1$2N')
    .replaceAll(/[ \t]+/g, ' ')
    .trim();
}

const EXPECTED_FAILURES = [
  'metadata vg http://farm.example/1',
  'undefine vg',
  'create DIR/nothing.xml',
  'start nope',
  'undefine nope',
  'domxml-from-native',
  'domrename vg vg',
  'setvcpu vg 0 --disable --config',
  'setvcpu vg 7 --enable --config',
  'domiftune vg',
  'domjobabort vg',
  'set-lifecycle-action vg reboot bogus',
  'guestinfo vg',
  'domfsinfo vg',
  'domtime vg',
  'qemu-agent-command vg',
  'event vg',
  'detach-device-alias vg ua-extra',
  'save-image-define',
  'save-image-dumpxml DIR/nothing.save',
  'dump vg DIR/vg.core --format',
];

describe('virsh', () => {
  let ours: Answer[];
  beforeAll(async () => {
    await using daemon = await startDaemon();
    ours = await session(daemon.uri);
  });

  it('does everything with our daemon', () => {
    const failed = ours.filter((answer) => answer.failed).map(({ command, text }) => `${command}: ${text}`);
    expect(failed.filter((line) => !EXPECTED_FAILURES.some((command) => line.startsWith(command)))).toEqual([]);
  });

  it.skipIf(!hasLibvirtd())('is told the same by libvirtd', async () => {
    await using libvirtd = await startLibvirtd();
    const theirs = await session(libvirtd.uri);
    const differences = ours.flatMap((answer, index) => {
      const other = theirs[index];
      if (other === undefined) return [];
      // A command may stand there twice, and once differ.
      if (answer.command in DIFFERENT && answer.failed === other.failed) return [];
      return answer.text === other.text && answer.failed === other.failed
        ? []
        : [`${answer.command}\n--- ours\n${answer.text}\n--- libvirtd's\n${other.text}`];
    });
    expect(differences).toEqual([]);
  });
});

/** A program of a user who sits and types; `script` gives it the terminal. */
function atTerminal(command: string): { readonly child: ChildProcess; text: () => string } {
  const child = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { child, text: () => text };
}

describe('virsh at a terminal', () => {
  it('speaks with the guest until ^], follows events, and finds live changes again after the daemon was killed', async () => {
    await using daemon = await startDaemon();
    const virsh = async (...args: string[]): Promise<string> =>
      (await run('virsh', ['-c', daemon.uri, ...args], { timeout: 60_000 })).stdout;
    await virsh('create', join(dir, 'vg.xml'));
    const console = atTerminal(`virsh -c '${daemon.uri}' console vg`);
    await expect.poll(console.text, { timeout: 30_000 }).toContain('Escape character is ^]');
    console.child.stdin?.write('ping-pong');
    await expect.poll(console.text, { timeout: 30_000 }).toContain('ping-pong');
    console.child.stdin?.write('\x1d');
    expect(await once(console.child, 'exit')).toEqual([0, null]);

    const events = atTerminal(`virsh -c '${daemon.uri}' event --all --loop --timestamp`);
    await expect
      .poll(
        async () => {
          await virsh('suspend', 'vg');
          await virsh('resume', 'vg');
          return events.text();
        },
        { timeout: 30_000 },
      )
      .toMatch(/\d\d:\d\d:\d\d\.\d+\+0000: event 'lifecycle' for domain 'vg': Suspended Paused[^]*Resumed Unpaused/);
    events.child.stdin?.write('\x03');
    await once(events.child, 'exit');

    await virsh('iothreadadd', 'vg', '5', '--live');
    await virsh('dommemstat', 'vg', '--period', '7', '--live');
    await virsh('set-lifecycle-action', 'vg', 'poweroff', 'restart', '--live');
    await virsh('blkdeviotune', 'vg', 'vda', '--total-iops-sec', '123', '--live');
    await virsh('vcpupin', 'vg', '0', '0', '--live');
    await virsh('desc', 'vg', '--live', 'Changed');
    const before = await virsh('dumpxml', 'vg');
    await daemon.crash();
    expect(await virsh('dumpxml', 'vg')).toBe(before);
    for (const part of [
      'iothread id=.5',
      'period=.7',
      '<on_poweroff>restart',
      'total_iops_sec>123',
      'vcpupin',
      'Changed',
    ]) {
      expect(before).toMatch(new RegExp(part));
    }
    await virsh('destroy', 'vg');
  });
});
