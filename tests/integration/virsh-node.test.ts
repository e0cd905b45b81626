/**
 * Debian's virsh about the host: what our daemon answers is what a real libvirtd answers, output for output, errors included. A difference
 * that stays has its reason here.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon } from '../support/daemon.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';

const run = promisify(execFile);

/** `<cpu>` by name of its file. */
const CPUS: Readonly<Record<string, string>> = {
  kvm64: '<cpu><arch>x86_64</arch><model>kvm64</model></cpu>',
  haswell: '<cpu><arch>x86_64</arch><model>Haswell</model></cpu>',
  require: "<cpu match='exact'><model>kvm64</model><feature name='vmx' policy='require'/></cpu>",
  forbid: "<cpu match='exact'><model>kvm64</model><feature name='fpu' policy='forbid'/></cpu>",
  force: "<cpu match='exact'><model>kvm64</model><feature name='vmx' policy='force'/></cpu>",
  badpolicy: "<cpu match='exact'><model>kvm64</model><feature name='vmx' policy='bogus'/></cpu>",
  badmatch: "<cpu match='bogus'><model>kvm64</model></cpu>",
  passthrough: "<cpu mode='host-passthrough'/>",
  unknown: '<cpu><arch>x86_64</arch><model>Nonsense</model></cpu>',
  feature: "<cpu><arch>x86_64</arch><model>kvm64</model><feature name='nonsense'/></cpu>",
  nomodel: '<cpu><arch>x86_64</arch></cpu>',
  empty: '<cpu/>',
  vendor: '<cpu><arch>x86_64</arch><model>kvm64</model><vendor>Acme</vendor></cpu>',
  arm: '<cpu><arch>aarch64</arch><model>cortex-a57</model></cpu>',
  arch: '<cpu><arch>foo</arch><model>kvm64</model></cpu>',
  twice: "<cpu><arch>x86_64</arch><model>kvm64</model><feature name='avx'/><feature name='avx'/></cpu>",
  domain: "<domain><name>x</name><cpu match='exact'><model>kvm64</model></cpu></domain>",
  nothing: '<foo/>',
  two: '<cpu><arch>x86_64</arch><model>EPYC</model></cpu><cpu><arch>x86_64</arch><model>Haswell</model></cpu>',
  vendors:
    '<cpu><arch>x86_64</arch><model>Haswell</model><vendor>Intel</vendor></cpu><cpu><arch>x86_64</arch><model>EPYC</model><vendor>AMD</vendor></cpu>',
};

const CPU_COMMANDS = Object.keys(CPUS).flatMap((name) => [
  `cpu-compare DIR/${name}.xml`,
  `cpu-compare DIR/${name}.xml --error`,
  `cpu-baseline DIR/${name}.xml`,
  `cpu-baseline DIR/${name}.xml --features --migratable`,
]);

const SESSION = [
  ...`
hostname
nodeinfo
nodecpumap
nodecpumap --pretty
nodecpustats 999
nodememstats 999
freecell 999
freecell 0
freecell --all
freepages --all
freepages 0 4
freepages 0 2048
freepages 0 17
freepages 999 4
allocpages 2048 0
allocpages 2048 0 --cellno 0
allocpages 2048 0 --cellno 999
allocpages 4 1
allocpages 17 1
node-memory-tune
sysinfo
maxvcpus
maxvcpus kvm
maxvcpus qemu
maxvcpus bogus
cpu-models x86_64
cpu-models i686
cpu-models aarch64
cpu-models ppc64
cpu-models s390x
cpu-models riscv64
cpu-models bogus
hypervisor-cpu-compare DIR/kvm64.xml --virttype qemu
hypervisor-cpu-compare DIR/haswell.xml --virttype qemu --error
hypervisor-cpu-compare DIR/forbid.xml --virttype qemu --error
hypervisor-cpu-compare DIR/unknown.xml --virttype qemu
hypervisor-cpu-baseline DIR/kvm64.xml --virttype qemu
hypervisor-cpu-baseline DIR/haswell.xml --virttype qemu
hypervisor-cpu-baseline DIR/unknown.xml --virttype qemu
nodedev-list --tree
nodedev-list --cap pci,net
nodedev-list --cap bogus
nodedev-list --inactive
nodedev-info computer
nodedev-info net_lo_00_00_00_00_00_00
nodedev-dumpxml net_lo_00_00_00_00_00_00
nodedev-dumpxml nope
nodedev-detach nope
nodedev-detach net_lo_00_00_00_00_00_00
nodedev-detach net_lo_00_00_00_00_00_00 --driver bogus
nodedev-reattach net_lo_00_00_00_00_00_00
nodedev-reset net_lo_00_00_00_00_00_00
nodedev-destroy nope
nodedev-destroy net_lo_00_00_00_00_00_00
nodedev-start net_lo_00_00_00_00_00_00
nodedev-undefine net_lo_00_00_00_00_00_00
nodedev-autostart net_lo_00_00_00_00_00_00
iface-list --all
iface-list
iface-list --inactive
iface-dumpxml lo
iface-dumpxml lo --inactive
iface-dumpxml nope
iface-mac lo
iface-name 02:00:00:00:00:99
iface-begin
iface-commit
iface-rollback
iface-start lo
iface-destroy lo
iface-undefine lo
nwfilter-list
nwfilter-dumpxml nope
nwfilter-undefine nope
nwfilter-binding-list
nwfilter-binding-dumpxml nope
nwfilter-binding-delete nope
`
    .trim()
    .split('\n'),
  ...CPU_COMMANDS,
];

/** Where only the words differ, and why. Both fail or both succeed. */
const DIFFERENT: Readonly<Record<string, string>> = {
  'nodecpustats 999': 'theirs name their own function',
  'nodememstats 999': 'theirs name their own function',
  'maxvcpus bogus': 'ours say what there is',
  'nodedev-detach net_lo_00_00_00_00_00_00': 'ours say what to do about it',
  'nodedev-detach net_lo_00_00_00_00_00_00 --driver bogus': 'ours say what there is',
};

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'virsh-node-'));
  for (const [name, xml] of Object.entries(CPUS)) writeFileSync(join(dir, `${name}.xml`), xml);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Answer {
  readonly command: string;
  readonly text: string;
  readonly failed: boolean;
}

async function session(uri: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const command of SESSION) {
    const words = command.split(' ').map((word) => word.replace('DIR', dir));
    try {
      const { stdout, stderr } = await run('virsh', ['-c', uri, ...words]);
      answers.push({ command, text: plain(command, stdout + stderr), failed: false });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      answers.push({ command, text: plain(command, stdout + stderr), failed: true });
    }
  }
  return answers;
}

/** Without what is different each time. */
function plain(command: string, text: string): string {
  const numbers = /^(freecell|freepages)/.test(command) ? text.replaceAll(/: *\d{4,}/g, ': N') : text;
  return numbers
    .replaceAll(/[ \t]+/g, ' ')
    .replaceAll(/ $/gm, '')
    .trim();
}

const comparable = process.getuid?.() === 0 && hasLibvirtd();
if (!comparable) process.stderr.write('SKIPPED: comparing what is said of the host needs root and libvirt-daemon\n');

describe.skipIf(!comparable)('virsh about the host', () => {
  it('is told the same by libvirtd', async () => {
    await using daemon = await startDaemon();
    await using libvirtd = await startLibvirtd();
    const [ours, theirs] = await Promise.all([session(daemon.uri), session(libvirtd.uri)]);
    const differences = ours.flatMap(({ command, text, failed }, index) => {
      const other = theirs[index];
      if (other === undefined || (other.failed === failed && command in DIFFERENT)) return [];
      return text === other.text && failed === other.failed
        ? []
        : [`${command}\n--- ours\n${text}\n--- libvirtd's\n${other.text}`];
    });
    expect(differences).toEqual([]);
    // Commands that nobody understands would agree as well.
    expect(ours.filter(({ text }) => text.includes('unknown command'))).toEqual([]);
  });

  it('is told of no devices that come and go while none do, and ends well', async () => {
    await using daemon = await startDaemon();
    const { stdout } = await run('virsh', [
      '-c',
      daemon.uri,
      'nodedev-event',
      '--event',
      'lifecycle',
      '--timeout',
      '1',
    ]).catch((error: { stdout: string }) => error);
    expect(stdout).toContain('event loop timed out');
  });
});
