/**
 * What can be asked of a container, and in which of its states: a table that is asked of libvirtd and of our daemon. Asked in this order; what an operation has
 * changed is put right before the next.
 */
import { type Connection, type Domain, DomainState } from '../../src/index.ts';

const LIVE = { live: true } as const;
const CONFIG = { config: true } as const;
const MISC = "<hostdev mode='capabilities' type='misc'><source><char>/dev/kmsg</char></source></hostdev>";
const SOUND = "<sound model='ich6'/>";

export const OPERATIONS: Readonly<Record<string, (domain: Domain) => Promise<unknown>>> = {
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
  guestInfo: (domain) => domain.guestInfo(['os']),
  filesystems: (domain) => domain.filesystems(),
  time: (domain) => domain.time(),
  memoryStats: (domain) => domain.memoryStats(),
  'blockStats of all': (domain) => domain.blockStats(''),
  'blockStats of a disk that is none': (domain) => domain.blockStats('vda'),
  blockInfo: (domain) => domain.blockInfo('vda'),
  'interfaceStats of none': (domain) => domain.interfaceStats('nowhere0'),
  vcpus: (domain) => domain.vcpus(),
  cpuStats: (domain) => domain.cpuStats(),
  diskErrors: (domain) => domain.diskErrors(),
  jobStats: (domain) => domain.jobStats(),
  abortJob: (domain) => domain.abortJob(),
  blockPeek: (domain) => domain.blockPeek('vda', 0n, 16),
  memoryPeek: (domain) => domain.memoryPeek(0n, 16, { physical: true }),
  measureDirtyRate: (domain) => domain.measureDirtyRate(1),
  setBlockThreshold: (domain) => domain.setBlockThreshold('vda', 1n << 30n),
  blockResize: (domain) => domain.blockResize('vda', 1n << 20n),
  securityLabels: (domain) => domain.securityLabels(),
  'memoryParameters live': (domain) => domain.memoryParameters(LIVE),
  'memoryParameters config': (domain) => domain.memoryParameters(CONFIG),
  'setMemoryParameters live': (domain) => domain.setMemoryParameters({ hard_limit: 1 << 20 }, LIVE),
  'setMemoryParameters config': (domain) => domain.setMemoryParameters({ hard_limit: 1 << 20 }, CONFIG),
  'setMemoryParameters that contradict': (domain) =>
    domain.setMemoryParameters({ hard_limit: 1 << 20, swap_hard_limit: 1 << 19 }, CONFIG),
  'blkioParameters config': (domain) => domain.blkioParameters(CONFIG),
  'schedulerParameters live': (domain) => domain.schedulerParameters(LIVE),
  'setSchedulerParameters live': (domain) => domain.setSchedulerParameters({ cpu_shares: 300 }, LIVE),
  'blockIoTune live': (domain) => domain.blockIoTune('vda', LIVE),
  'interfaceParameters config': (domain) => domain.interfaceParameters('nowhere0', CONFIG),
  'numaParameters config': (domain) => domain.numaParameters(CONFIG),
  'emulatorPin live': (domain) => domain.emulatorPin(LIVE),
  'pinVcpu live': (domain) => domain.pinVcpu(0, [0], LIVE),
  'iothreads live': (domain) => domain.iothreads(LIVE),
  'addIothread live': (domain) => domain.addIothread(4, LIVE),
  'setVcpus live': (domain) => domain.setVcpus(1, LIVE),
  'setVcpus config': (domain) => domain.setVcpus(1, CONFIG),
  'setMemory live': (domain) => domain.setMemory(60 * 1024, LIVE),
  'setMemory config': (domain) => domain.setMemory(60 * 1024, CONFIG),
  'setMemory above the maximum': (domain) => domain.setMemory(70 * 1024, LIVE),
  'setMemory maximum live': (domain) => domain.setMemory(70 * 1024, { ...LIVE, maximum: true }),
  'setMemory maximum config': (domain) => domain.setMemory(70 * 1024, { ...CONFIG, maximum: true }),
  'setMemoryStatsPeriod live': (domain) => domain.setMemoryStatsPeriod(2, LIVE),
  'setMetadata live': (domain) => domain.setMetadata({ kind: 'title', value: 'x' }, LIVE),
  'setMetadata config': (domain) => domain.setMetadata({ kind: 'title', value: 'x' }, CONFIG),
  'attach live': (domain) => domain.attachDevice(MISC, LIVE),
  'detach live': (domain) => domain.detachDevice(MISC, LIVE),
  'attach config': (domain) => domain.attachDevice(MISC, CONFIG),
  'detach config': (domain) => domain.detachDevice(MISC, CONFIG),
  'attach live what containers do not have': (domain) => domain.attachDevice(SOUND, LIVE),
  'detach live what is not there': (domain) =>
    domain.detachDevice(
      "<interface type='bridge'><source bridge='x'/><mac address='00:16:3e:00:00:01'/></interface>",
      LIVE,
    ),
  'update live': (domain) => domain.updateDevice(MISC, LIVE),
  freezeFilesystems: (domain) => domain.freezeFilesystems(),
  setUserPassword: (domain) => domain.setUserPassword('root', 'x'),
  guestVcpus: (domain) => domain.guestVcpus(),
  hasManagedSave: (domain) => domain.hasManagedSave(),
  removeManagedSave: (domain) => domain.removeManagedSave(),
  managedSave: (domain) => domain.managedSave(),
  coreDump: (domain) => domain.coreDump('/nowhere/dump', { memoryOnly: true }),
  save: (domain) => domain.save('/nowhere/save'),
  create: (domain) => domain.create(),
  undefine: (domain) => domain.undefine(),
  destroy: (domain) => domain.destroy(),
};

export const STATES = ['defined', 'running', 'paused', 'gone'] as const;
export type State = (typeof STATES)[number];

/** The same container again, in that state. */
export async function bring(connection: Connection, xml: string, state: State): Promise<Domain> {
  const domain = await connection.defineDomain(xml);
  const now = (await domain.state()).state;
  const isUp = now === DomainState.RUNNING || now === DomainState.PAUSED;
  if (!isUp || state === 'defined' || state === 'gone') {
    if (now !== DomainState.SHUTOFF) await domain.destroy();
    if (state === 'gone') await domain.undefine();
    if (state === 'defined' || state === 'gone') return domain;
  }
  if (!isUp) await domain.create();
  const { state: isNow } = await domain.state();
  if (state === 'paused') await domain.suspend();
  else if (isNow === DomainState.PAUSED) await domain.resume();
  return domain;
}
