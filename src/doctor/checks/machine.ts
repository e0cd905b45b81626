/** Processor, acceleration, memory, disk, entropy, IOMMU and huge pages. */
import { statfsSync } from 'node:fs';
import { readKvmVerdict } from '../../host/accelerator-cache.ts';
import { hostArch, readHostCpu, readMemoryKiB } from '../../host/cpu.ts';
import {
  type DoctorHost,
  type Finding,
  type Fix,
  fail,
  isThere,
  lookUp,
  modeOf,
  moduleFix,
  pass,
  quoted,
  readText,
  rootFix,
  warn,
} from '../finding.ts';

const GUESTS_RUN_SLOWLY = 'guests run under emulation (TCG), 5 to 50 times slower';

export async function checkAccelerator(host: DoctorHost): Promise<Finding[]> {
  const { dev, proc, signal } = host;
  const arch = hostArch();
  const qemu = lookUp(host, `qemu-system-${arch}`);
  if (qemu === undefined) {
    return [
      warn(
        'kvm',
        'acceleration',
        `not tried: there is no qemu-system-${arch}`,
        'KVM can be judged only by running a guest',
        'apt-get install qemu-system',
      ),
    ];
  }
  const verdict = await readKvmVerdict({ qemu, arch, devKvm: `${dev}/kvm`, ...(signal && { signal }) });
  if (verdict.usable) return [pass('kvm', 'acceleration', `KVM runs guest code (in ${Math.round(verdict.timeMs)} ms)`)];
  const fact = `KVM is not usable: ${verdict.reason}: ${verdict.detail}`;
  const isPvm = /^kvm_pvm /m.test(readText(`${proc}/modules`) ?? '');
  switch (verdict.reason) {
    case 'absent':
      return [warn('kvm', 'acceleration', fact, GUESTS_RUN_SLOWLY, kvmAbsentFix(host))];
    case 'permission':
      return [
        warn(
          'kvm',
          'acceleration',
          `${fact} (mode ${modeOf(`${dev}/kvm`) ?? '?'})`,
          GUESTS_RUN_SLOWLY,
          'usermod -aG kvm "$USER" && newgrp kvm   # in a CI container: nestling ci prepare --kvm',
        ),
      ];
    case 'busy':
      return [
        warn(
          'kvm',
          'acceleration',
          fact,
          'another hypervisor holds the processor',
          'stop VirtualBox or VMware guests, or unload their modules',
        ),
      ];
    default:
      return [
        warn(
          'kvm',
          'acceleration',
          isPvm ? `${fact} (kvm_pvm: a software hypervisor inside this machine)` : fact,
          `${GUESTS_RUN_SLOWLY}; the device opens all the same, so that programs which only look at it fail later`,
          "say what you want: <domain type='qemu'>, or nestling run --accel auto; for KVM, ask the host's owner for nested virtualization",
        ),
      ];
  }
}

/** The node of a module that is there, or the module that fits the processor. */
export function kvmAbsentFix(host: DoctorHost): Fix | string {
  const { dev, proc } = host;
  const path = `${dev}/kvm`;
  if (/ kvm$/m.test(readText(`${proc}/misc`) ?? '') && !isThere(path))
    return rootFix(host, `mknod -m 660 ${path} c 10 232; chgrp kvm ${path}   # or docker run --device /dev/kvm …`);
  const { flags } = readHostCpu({ proc });
  const names = flags.includes('vmx') ? ['kvm_intel'] : flags.includes('svm') ? ['kvm_amd'] : [];
  return (
    moduleFix(host, ...names) ??
    'modprobe kvm_intel || modprobe kvm_amd   # on the host; in a virtual machine: switch on nested virtualization outside'
  );
}

export function checkProcessor({ proc, sys }: DoctorHost): Finding[] {
  const { flags: features } = readHostCpu({ proc });
  const flag = ['vmx', 'svm'].find((name) => features.includes(name));
  const findings: Finding[] = [];
  if (hostArch() === 'x86_64' && flag === undefined) {
    findings.push(
      warn(
        'cpu-virtualization',
        'processor',
        'no virtualization flag (vmx, svm) in /proc/cpuinfo',
        GUESTS_RUN_SLOWLY,
        "switch on VT-x/AMD-V in the firmware; in a virtual machine, nested virtualization (host: CPU mode 'host-passthrough')",
      ),
    );
  } else findings.push(pass('cpu-virtualization', 'processor', flag === undefined ? hostArch() : `has ${flag}`));
  const nested = ['kvm_intel', 'kvm_amd']
    .map((name) => readText(`${sys}/module/${name}/parameters/nested`))
    .find((text) => text !== undefined);
  if (nested !== undefined) {
    const isOn = nested === 'Y' || nested === '1';
    findings.push(
      isOn
        ? pass('nested', 'nested virtualization', 'guests can have KVM themselves')
        : warn(
            'nested',
            'nested virtualization',
            'switched off',
            'guests cannot run guests of their own with KVM',
            'modprobe -r kvm_intel && modprobe kvm_intel nested=1   # no guest may run meanwhile',
          ),
    );
  }
  return findings;
}

/** A guest of a CI job seldom has less. */
const LITTLE_MEMORY_KIB = 1024 * 1024;

export function checkMemory({ proc }: DoctorHost): Finding[] {
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(readText(`${proc}/meminfo`) ?? '')?.[1] ?? 0);
  const fact = `${toMiB(available)} MiB available of ${toMiB(readMemoryKiB({ proc }))} MiB`;
  if (available >= LITTLE_MEMORY_KIB) return [pass('memory', 'memory', fact)];
  return [
    warn(
      'memory',
      'memory',
      fact,
      'a guest that gets no memory is killed by the kernel, without a word on its console',
      'end other programs, or give the machine more memory',
    ),
  ];
}

/** Where things are written, and how many MiB each needs at least. */
const FOLDERS: readonly (readonly [path: string, leastMiB: number, what: string])[] = [
  ['/var/tmp', 1024, 'disk images and overlays'],
  ['/run', 8, 'sockets and the ledger'],
  ['/dev/shm', 64, 'shared memory of guests'],
];

export function checkDisk(host: DoctorHost): Finding[] {
  const { env, uid } = host;
  const folders = [[env['TMPDIR'] ?? '/tmp', 256, 'temporary roots'] as const, ...FOLDERS];
  return folders.flatMap(([path, leastMiB, what]): Finding[] => {
    const id = `space-${path.replaceAll('/', '-').replace(/^-/, '')}`;
    try {
      const { bavail, bsize } = statfsSync(path);
      const freeMiB = Math.floor((bavail * bsize) / 1024 / 1024);
      if (freeMiB >= leastMiB) return [pass(id, `space in ${path}`, `${freeMiB} MiB free`)];
      return [
        warn(
          id,
          `space in ${path}`,
          `${freeMiB} MiB free`,
          `${what} are written there`,
          path === '/dev/shm' ? 'docker run --shm-size=1g …' : `df ${path}`,
        ),
      ];
    } catch {
      const isTemporary = path === env['TMPDIR'];
      const command = `mkdir -p -m ${path === '/run' ? '0755' : '1777'} ${quoted(path)}`;
      const fix = { command, safe: !isThere(path) && (uid === 0 || isTemporary) };
      return [warn(id, `space in ${path}`, 'there is no such folder', `${what} are written there`, fix)];
    }
  });
}

export function checkEntropy(host: DoctorHost): Finding[] {
  const { proc, dev } = host;
  if (!isThere(`${dev}/urandom`)) {
    return [
      fail(
        'entropy',
        'random numbers',
        `there is no ${dev}/urandom`,
        'guests with an rng device and every TLS connection need it',
        rootFix(host, `mknod -m 666 ${dev}/urandom c 1 9`),
      ),
    ];
  }
  const available = Number(readText(`${proc}/sys/kernel/random/entropy_avail`) ?? 256);
  if (available >= 100) return [pass('entropy', 'random numbers', `${available} bits of entropy`)];
  return [
    warn(
      'entropy',
      'random numbers',
      `${available} bits of entropy`,
      'programs that read /dev/random wait',
      'apt-get install rng-tools5 (or haveged)',
    ),
  ];
}

export function checkIommu({ sys, proc }: DoctorHost): Finding[] {
  const groups = isThere(`${sys}/kernel/iommu_groups/0`);
  if (groups) return [pass('iommu', 'IOMMU', 'devices can be given to guests')];
  const isOff = /(intel|amd)_iommu=off/.test(readText(`${proc}/cmdline`) ?? '');
  return [
    pass(
      'iommu',
      'IOMMU',
      `none${isOff ? ' (switched off on the kernel command line)' : ''}: PCI devices cannot be given to guests; nothing else needs it`,
    ),
  ];
}

export function checkHugePages({ proc }: DoctorHost): Finding[] {
  const meminfo = readText(`${proc}/meminfo`) ?? '';
  const number = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0);
  const total = number('HugePages_Total');
  const fact =
    total === 0
      ? 'none reserved; only guests with <hugepages> need them'
      : `${number('HugePages_Free')} of ${total} free, ${number('Hugepagesize')} KiB each`;
  return [pass('hugepages', 'huge pages', fact)];
}

function toMiB(sizeKiB: number): number {
  return Math.round(sizeKiB / 1024);
}
