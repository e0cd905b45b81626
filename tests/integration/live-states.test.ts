/**
 * In which state each operation is legal, and with which code it is refused: our daemon and Debian's libvirtd are asked the same through the
 * same client, of a domain that is defined only, that runs, that is paused, and that is gone.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Connection, connect, type Domain, DomainState, ErrorCode, VirtError } from '../../src/index.ts';
import { startDaemon } from '../support/daemon.ts';
import { domainXml } from '../support/domain-xml.ts';
import { bootSectorImage } from '../support/guests/boot-sectors.ts';
import { hasLibvirtd, startLibvirtd } from '../support/libvirtd.ts';

if (!hasLibvirtd())
  process.stderr.write('\nSKIPPED: the table of states beside libvirtd: it is not installed here\n\n');

const UUID = '5c5a3c6e-2d64-4a9e-8d2f-0b6a4d7c9e11';
const MAC = '52:54:00:55:66:77';
/** Nothing that is asked here waits for the guest. */
const PATIENCE_MS = 15_000;
const LIVE = { live: true } as const;
const CONFIG = { config: true } as const;
const RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>";
const CDROM =
  "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/></disk>";

let dir: string;
let xml: string;
let files = 0;
const newFile = (): string => join(dir, `file${files++}`);

/** Asked in this order; what an operation has changed is put right before the next. */
const OPERATIONS: Readonly<Record<string, (domain: Domain) => Promise<unknown>>> = {
  info: (domain) => domain.info(),
  state: (domain) => domain.state(),
  xmlDesc: (domain) => domain.xmlDesc(),
  autostart: (domain) => domain.autostart(),
  setAutostart: (domain) => domain.setAutostart(false),
  isPersistent: (domain) => domain.isPersistent(),
  suspend: (domain) => domain.suspend(),
  resume: (domain) => domain.resume(),
  shutdown: (domain) => domain.shutdown({ wait: false }),
  reboot: (domain) => domain.reboot(),
  reset: (domain) => domain.reset(),
  injectNmi: (domain) => domain.injectNmi(),
  sendKey: (domain) => domain.sendKey([30]),
  screenshot: async (domain) => (await domain.screenshot()).image.destroy(),
  pmWakeup: (domain) => domain.pmWakeup(),
  pmSuspend: (domain) => domain.pmSuspend('mem'),
  hostname: (domain) => domain.hostname(),
  filesystems: (domain) => domain.filesystems(),
  time: (domain) => domain.time(),
  agent: (domain) => domain.qemuAgentCommand('guest-ping'),
  monitor: (domain) => domain.qemuMonitorCommand('query-status'),
  memoryStats: (domain) => domain.memoryStats(),
  blockStats: (domain) => domain.blockStats('vda'),
  blockInfo: (domain) => domain.blockInfo('vda'),
  interfaceStats: (domain) => domain.interfaceStats('vnet0'),
  vcpus: (domain) => domain.vcpus(),
  diskErrors: (domain) => domain.diskErrors(),
  controlState: (domain) => domain.controlState(),
  jobStats: (domain) => domain.jobStats(),
  abortJob: (domain) => domain.abortJob(),
  blockPeek: (domain) => domain.blockPeek('vda', 0n, 16),
  measureDirtyRate: (domain) => domain.measureDirtyRate(1),
  setBlockThreshold: (domain) => domain.setBlockThreshold('vda', 1n << 30n),
  'memoryParameters live': (domain) => domain.memoryParameters(CONFIG),
  'schedulerParameters config': (domain) => domain.schedulerParameters(CONFIG),
  'setMemoryParameters config': (domain) => domain.setMemoryParameters({ hard_limit: 1 << 20 }, CONFIG),
  'blockIoTune live': (domain) => domain.blockIoTune('vda', LIVE),
  'blockIoTune config': (domain) => domain.blockIoTune('vda', CONFIG),
  'setBlockIoTune live': (domain) => domain.setBlockIoTune('vda', { total_iops_sec: 1000 }, LIVE),
  'interfaceParameters config': (domain) => domain.interfaceParameters(MAC, CONFIG),
  'numaParameters config': (domain) => domain.numaParameters(CONFIG),
  'vcpuPins live': (domain) => domain.vcpuPins(LIVE),
  'emulatorPin live': (domain) => domain.emulatorPin(LIVE),
  'pinVcpu live': (domain) => domain.pinVcpu(0, [0], LIVE),
  'pinVcpu config': (domain) => domain.pinVcpu(0, [0], CONFIG),
  'iothreads live': (domain) => domain.iothreads(LIVE),
  'addIothread live': (domain) => domain.addIothread(4, LIVE),
  'removeIothread live': (domain) => domain.removeIothread(4, LIVE),
  'vcpuCount live': (domain) => domain.vcpuCount(LIVE),
  'vcpuCount config': (domain) => domain.vcpuCount(CONFIG),
  'setVcpus live': (domain) => domain.setVcpus(1, LIVE),
  'setMemory live': (domain) => domain.setMemory(60 * 1024, LIVE),
  'setMemory maximum live': (domain) => domain.setMemory(70 * 1024, { ...LIVE, maximum: true }),
  'setMemoryStatsPeriod live': (domain) => domain.setMemoryStatsPeriod(2, LIVE),
  'setLifecycleAction live': (domain) => domain.setLifecycleAction('crash', 'restart', LIVE),
  'setMetadata live': (domain) => domain.setMetadata({ kind: 'title', value: 'x' }, LIVE),
  'attach live': (domain) => domain.attachDevice(RNG, LIVE),
  'detach live': (domain) => domain.detachDevice(RNG, LIVE),
  'update live': (domain) => domain.updateDevice(CDROM, LIVE),
  'update config': (domain) => domain.updateDevice(CDROM, CONFIG),
  'setMemoryParameters live': (domain) => domain.setMemoryParameters({}, LIVE),
  'setInterfaceParameters config': (domain) => domain.setInterfaceParameters(MAC, {}, CONFIG),
  'setVcpus config': (domain) => domain.setVcpus(1, CONFIG),
  'setMemory config': (domain) => domain.setMemory(60 * 1024, CONFIG),
  'setMetadata config': (domain) => domain.setMetadata({ kind: 'title', value: 'x' }, CONFIG),
  'attach config': (domain) => domain.attachDevice(RNG, CONFIG),
  'pinEmulator live': (domain) => domain.pinEmulator([0], LIVE),
  freezeFilesystems: (domain) => domain.freezeFilesystems(),
  setUserPassword: (domain) => domain.setUserPassword('root', 'x'),
  guestVcpus: (domain) => domain.guestVcpus(),
  memoryPeek: (domain) => domain.memoryPeek(0n, 16, { physical: true }),
  removeManagedSave: (domain) => domain.removeManagedSave(),
  blockResize: (domain) => domain.blockResize('vdb', 1n << 20n),
  hasManagedSave: (domain) => domain.hasManagedSave(),
  managedSaveXml: (domain) => domain.managedSaveXml(),
  coreDump: (domain) => domain.coreDump(newFile(), { memoryOnly: true }),
  save: (domain) => domain.save(newFile()),
  create: (domain) => domain.create(),
  rename: (domain) => domain.rename('states2'),
  destroy: (domain) => domain.destroy(),
};

/** Where we answer something else, and why. */
const DIFFERENT: Readonly<Record<string, string>> = {
  'pmWakeup, running': 'libvirt hands on what QEMU says; ours knows that the guest does not sleep',
  'pmWakeup, paused': 'as above',
};

const STATES = ['defined', 'running', 'paused', 'gone'] as const;
type State = (typeof STATES)[number];

/** The same domain again, in that state. */
async function bring(connection: Connection, state: State): Promise<Domain> {
  const domain = await connection.defineDomain(xml);
  const now = (await domain.state()).state;
  const isUp = now === DomainState.RUNNING || now === DomainState.PAUSED;
  if (!isUp || state === 'defined' || state === 'gone') {
    if (now !== DomainState.SHUTOFF) await domain.destroy();
    if (await domain.hasManagedSave()) await domain.removeManagedSave();
    if (state === 'gone') await domain.undefine();
    if (state === 'defined' || state === 'gone') return domain;
  }
  if (!isUp) await domain.create();
  const { state: isNow } = await domain.state();
  if (state === 'paused') await domain.suspend();
  else if (isNow === DomainState.PAUSED) await domain.resume();
  return domain;
}

async function answerOf(call: Promise<unknown>): Promise<string> {
  const stop = new AbortController();
  try {
    return await Promise.race([call.then(() => 'ok'), pause(PATIENCE_MS, 'no answer', { signal: stop.signal })]);
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    return nameOf(error.code);
  } finally {
    stop.abort();
  }
}

function nameOf(code: number): string {
  return Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? String(code);
}

/** What each operation answers in each state. */
async function table(uri: string): Promise<Record<string, string>> {
  await using connection = await connect(uri);
  const answers: Record<string, string> = {};
  for (const state of STATES) {
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      const domain = await bring(connection, state);
      answers[`${name}, ${state}`] = await answerOf(operation(domain));
      if (name === 'rename' && answers[`${name}, ${state}`] === 'ok') {
        await (await connection.lookupDomainByName('states2')).undefine();
      }
    }
  }
  await (await bring(connection, 'defined')).undefine();
  return answers;
}

describe.skipIf(!hasLibvirtd())('the table of states', () => {
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'states-'));
    const second = join(dir, 'second.raw');
    writeFileSync(second, Buffer.alloc(1 << 20), { mode: 0o666 });
    const nic = `<interface type='user'><mac address='${MAC}'/><model type='virtio'/></interface>`;
    const agent = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
    xml = domainXml({
      name: 'states',
      uuid: UUID,
      disks: [{ path: await bootSectorImage('halt'), readonly: true }, { path: second }],
      devices: `${CDROM}${nic}${agent}<video><model type='vga'/></video>`,
    }).replace("<memballoon model='none'/>", "<memballoon model='virtio'/>");
  });
  afterAll(() => {
    if (existsSync(dir)) rmSync(dir, { recursive: true });
  });

  it('is libvirt’s, code for code', { timeout: 300_000 }, async () => {
    await using daemon = await startDaemon();
    const ours = await table(daemon.uri);
    await using libvirtd = await startLibvirtd();
    const theirs = await table(libvirtd.uri);
    const differences = Object.entries(ours).flatMap(([key, answer]) =>
      answer === theirs[key] || key in DIFFERENT ? [] : [`${key}: ours ${answer}, libvirtd's ${theirs[key] ?? ''}`],
    );
    expect(differences).toEqual([]);
    const stale = Object.keys(DIFFERENT).filter((key) => ours[key] === theirs[key]);
    expect(stale).toEqual([]);
  });
});
