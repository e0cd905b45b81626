/**
 * The tables of procedures against the real thing: each message between Debian's virsh and libvirtd is read by them and must come out
 * the same when written again, and libvirtd knows the numbers that they have. With RECORD_FRAMES=FILE it also writes the recording
 * that the unit tests read.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  encodeRawFrame,
  errorFromWire,
  FrameSplitter,
  type Header,
  MessageStatus,
  MessageType,
  messageError,
  PROGRAM_VERSION,
  Program,
  QEMU_PROCEDURES,
  REMOTE_PROCEDURES,
  type Row,
  readFrame,
} from '../../src/protocol/index.ts';
import { describeFrame } from '../../src/protocol/testing/describe-frame.ts';
import { domainXml } from '../support/domain-xml.ts';
import { frameLines } from '../support/frame-lines.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, type Libvirtd, startLibvirtd } from '../support/libvirtd.ts';
import { type RecordedFrame, type RecordingProxy, startRecordingProxy } from '../support/recording-proxy.ts';

const isPossible = hasLibvirtd();
if (!isPossible) process.stderr.write('SKIPPED: the protocol against libvirtd: libvirt-daemon is not installed\n');

/** What libvirt 9.0, Debian 12's, did not have yet: 9.0 ends with domainFdAssociate. */
const LAST_OF_9_0 = REMOTE_PROCEDURES.domainFdAssociate.number;

/** libvirt's own driver of imaginary things: it has all kinds, and nothing that happens there touches the host but FILE. */
const IMAGINARY = `
  version; uri; hostname; capabilities; sysinfo; nodeinfo; nodememstats; nodecpustats; maxvcpus; freecell --all; freepages --all
  list --all; dominfo test; domstate --reason test; dumpxml test; domid test; domuuid test; domjobinfo test; vcpuinfo test
  vcpucount test; vcpupin test; emulatorpin test; domifaddr test; domfsinfo test; domcontrol test; metadata test http://a.example
  metadata test http://a.example --key a --set <x/>; desc test --title --new-desc Näme; autostart test; suspend test; resume test
  setmem test 4096000 --live; setvcpus test 1 --live; setmaxmem test 8388608 --config; schedinfo test; memtune test
  numatune test; blkiotune test; domstats test; domstats test --state --vcpu --interface; domblkstat test vda; domifstat test eth0
  domif-getlink test eth0; guestinfo test; set-user-password test root secret; screenshot test FILE; send-key test KEY_A
  snapshot-create-as test one first; snapshot-list test; snapshot-info test one; snapshot-dumpxml test one; snapshot-current test
  snapshot-revert test one; snapshot-delete test one; checkpoint-list test; save test FILE; domrename test other
  net-list --all; net-info default; net-dumpxml default; net-autostart default; net-dhcp-leases default; net-destroy default
  net-start default; net-uuid default; net-port-list default; net-update default add dns-host <host/>
  pool-list --all --details; pool-info default-pool; pool-dumpxml default-pool; pool-refresh default-pool; pool-uuid default-pool
  vol-create-as default-pool one 1M; vol-list default-pool --details; vol-info one default-pool; vol-dumpxml one default-pool
  vol-path one default-pool; vol-key one default-pool; vol-pool /default-pool/one; vol-resize one 2M default-pool
  vol-wipe one default-pool; vol-delete one default-pool; pool-autostart default-pool; find-storage-pool-sources-as logical
  nodedev-list; nodedev-list --tree; nodedev-dumpxml computer; nodedev-info computer
  iface-list --all; iface-dumpxml eth1; iface-mac eth1; iface-begin; iface-rollback; nwfilter-list; nwfilter-binding-list
  secret-list; domblklist test; domiflist test; undefine test; shutdown test; reboot test; reset test; domxml-to-native x FILE
  cpu-models x86_64; cpu-baseline FILE; domcapabilities; allocpages 4 0; send-process-signal test 1 kill; inject-nmi test
  iothreadinfo test; perf test; domfsfreeze test; domfstrim test; dommemstat test; cpu-stats test; domtime test; domhostname test
  managedsave test; managedsave-remove test; dump test FILE; blockcopy test vda FILE; blockjob test vda; blkdeviotune test vda
  domlaunchsecinfo test; nodesevinfo; get-user-sshkeys test root; domdirtyrate-calc test; dom-fd-associate test
  migrate test qemu:///x; migrate-getspeed test; migrate-setmaxdowntime test 9; destroy test; event --list
`;

/** The same with the QEMU driver and a guest that runs. `none` does not exist: errors have their own structure. */
const REAL = (xml: string): string => `
  define ${xml}; start protocol-test --paused; dominfo protocol-test; domstate --reason protocol-test; resume protocol-test
  dumpxml protocol-test; domstats protocol-test; cpu-stats protocol-test; vcpuinfo protocol-test; domblklist protocol-test
  domblkstat protocol-test vda; domblkinfo protocol-test vda; blkdeviotune protocol-test vda; blkdeviotune protocol-test vda --total-iops-sec 900
  dommemstat protocol-test; domjobinfo protocol-test; iothreadinfo protocol-test; domcontrol protocol-test; perf protocol-test
  qemu-monitor-command protocol-test --hmp info version; qemu-agent-command protocol-test x; vcpupin protocol-test; ttyconsole protocol-test
  guestvcpus protocol-test; send-key protocol-test KEY_A KEY_B; metadata protocol-test http://a.example; domlaunchsecinfo protocol-test
  domdisplay protocol-test; domcapabilities; cpu-models x86_64; secret-list; nwfilter-list; iface-list; net-list --all
  setvcpus protocol-test 1 --live; schedinfo protocol-test; memtune protocol-test; numatune protocol-test; domiflist protocol-test
  domfsinfo protocol-test; domrename protocol-test other; dominfo none; destroy protocol-test; undefine protocol-test
`;

const SECRET = `<secret ephemeral='yes' private='no'><description>Größe</description><usage type='ceph'><name>a</name></usage></secret>`;

describe.runIf(isPossible)('the protocol, with Debian’s virsh and libvirtd', () => {
  let folder: string;
  let libvirtd: Libvirtd;
  let proxy: RecordingProxy;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'nestling-protocol-'));
    libvirtd = await startLibvirtd();
    proxy = await startRecordingProxy(join(folder, 'sock'), libvirtd.socket);
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await libvirtd?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const virsh = (uri: string, ...args: string[]): ChildProcessWithoutNullStreams =>
    spawn('virsh', ['-c', `${uri}?socket=${join(folder, 'sock')}`, ...args]);

  /** What virsh prints. Many of the commands fail, as they are meant to. */
  const session = async (uri: string, commands: string): Promise<string> => {
    const child = virsh(uri);
    const lines = commands.replaceAll('FILE', join(folder, 'file')).split(/[;\n]/);
    child.stdin.end(`${lines.map((line) => line.trim()).join('\n')}\nquit\n`);
    return (await Promise.all([text(child.stdout), text(child.stderr)])).join('');
  };

  it('reads every message and writes it again, byte for byte', async () => {
    const xml = join(folder, 'guest.xml');
    const secret = join(folder, 'secret.xml');
    const disk = { path: await bootSectorImage('counter'), readonly: true };
    writeFileSync(xml, domainXml({ name: 'protocol-test', disks: [disk], serial: { type: 'pty' } }));
    writeFileSync(secret, SECRET);
    await session('test+unix:///default', IMAGINARY);
    const events = virsh('qemu+unix:///system', 'event', '--all', '--loop');
    const isRegistered = ({ bytes }: RecordedFrame): boolean =>
      describeFrame(bytes).title === 'connectDomainEventCallbackRegisterAny reply';
    await proxy.passed(isRegistered);
    const said = await session('qemu+unix:///system', `secret-define ${secret}\n${REAL(xml)}`);
    expect(said).toContain("Domain 'protocol-test' destroyed");
    events.kill('SIGINT');
    await once(events, 'close');
    const seen = new Set<string>();
    for (const { bytes, from } of proxy.frames) {
      const { title, again, left } = describeFrame(bytes);
      expect(again.toString('hex'), `${title} from ${from}`).toBe(bytes.toString('hex'));
      expect(left, title).toBe(0);
      seen.add(title);
    }
    expect(seen.size).toBeGreaterThan(200);
    const file = process.env['RECORD_FRAMES'];
    if (file !== undefined) writeFileSync(file, frameLines(proxy.frames));
  });

  it('has the numbers that libvirtd knows', async () => {
    const programs: readonly [number, Readonly<Record<string, Row>>, number][] = [
      [Program.REMOTE, REMOTE_PROCEDURES, LAST_OF_9_0],
      [Program.QEMU, QEMU_PROCEDURES, Number.MAX_SAFE_INTEGER],
    ];
    for (const [program, rows, last] of programs) {
      const calls = Object.values(rows).filter(({ kind, number }) => kind === 'call' && number <= last);
      const known: number[] = [];
      // Past the end of our table too.
      for (let number = 1; number <= Object.keys(rows).length + 2; number++) {
        if (!(await answer(libvirtd.socket, { ...CALL, program, procedure: number })).startsWith('unknown procedure')) {
          known.push(number);
        }
      }
      expect(known).toEqual(calls.map(({ number }) => number).toSorted((a, b) => a - b));
    }
  });

  it('has the programs that libvirtd knows', async () => {
    for (const program of [Program.REMOTE, Program.QEMU, Program.LXC]) {
      expect(await answer(libvirtd.socket, { ...CALL, program, procedure: 1 })).not.toMatch(/program/i);
    }
    expect(await answer(libvirtd.socket, { ...CALL, program: 0x2000_8089, procedure: 1 })).toMatch(/program/i);
  });
});

const CALL: Header = {
  program: Program.REMOTE,
  version: PROGRAM_VERSION,
  procedure: 0,
  type: MessageType.CALL,
  serial: 1,
  status: MessageStatus.OK,
};

/** The error that a call without arguments gets on a connection of its own, which has opened no driver: it can do nothing. */
async function answer(path: string, header: Header): Promise<string> {
  const socket = connect(path);
  socket.write(encodeRawFrame(header, new Uint8Array()));
  const splitter = new FrameSplitter();
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const [body] = splitter.push(chunk);
      if (body === undefined) continue;
      const reply = readFrame(body);
      return reply.header.status === MessageStatus.ERROR
        ? errorFromWire(messageError.read(reply.payload)).message
        : 'done';
    }
    return 'closed';
  } finally {
    socket.destroy();
  }
}
