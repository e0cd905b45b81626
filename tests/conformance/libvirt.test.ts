/**
 * The real libvirt beside us on this machine, with the same QEMU: typical domains, and plain ones with one random
 * device or feature each, are accepted or refused by both, and give the guest the same hardware. Debian 12 has
 * libvirt 9.0, so what newer ones do otherwise is set out below; host-side options (chardevs, files) are not compared.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CapabilitiesCache } from '../../src/driver/qemu/capabilities/cache.ts';
import { DEFAULT_CONFIG } from '../../src/driver/qemu/config.ts';
import type { DriverContext } from '../../src/driver/qemu/context.ts';
import { Layout, SYSTEM_ROOTS } from '../../src/driver/qemu/layout.ts';
import { planFromXml } from '../../src/driver/qemu/plan/launch-plan.ts';
import { formatCommand } from '../../src/driver/qemu/plan/render.ts';
import { formatXml } from '../../src/xml/format.ts';
import { askLibvirt, libvirtProblem, type Verdict } from './libvirt-embedded.ts';
import { mockHost } from './mock-host.ts';
import { GrammarSampler, seededRandom } from './relaxng.ts';
import { compareCommands } from './score.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const SCHEMA = '/usr/share/libvirt/schemas/domain.rng';
const problem = libvirtProblem(QEMU) ?? (existsSync(SCHEMA) ? undefined : `${SCHEMA} is not installed`);
if (problem !== undefined) process.stderr.write(`\nSKIPPED, LOUDLY: no comparison with libvirt: ${problem}\n\n`);

/** Devices and features of which random ones are tried; interfaces are not, as `domxml-to-native` rewrites them. */
const KINDS =
  'disk controller input sound graphic video serial console parallel channel smartcard hub redirdev rng shmem memorydev watchdog memballoon panic iommu hostdev audio clock features guestcpu pm sysinfo events'.split(
    ' ',
  );
const EACH = 15;
const IN_DOMAIN = new Set(['clock', 'features', 'guestcpu', 'pm', 'sysinfo', 'events']);

describe.skipIf(problem !== undefined)('beside the libvirt of this machine', () => {
  const domains =
    problem === undefined ? new Map([...typicalDomains(), ...randomDomains()]) : new Map<string, string>();
  const differences: string[] = [];
  let compared = 0;
  let theirs = new Map<string, Verdict>();
  const cacheDir = mkdtempSync(join(tmpdir(), 'nestling-test-'));

  beforeAll(async () => {
    const context = await machineContext(cacheDir);
    theirs = askLibvirt(domains);
    for (const [name, verdict] of theirs) {
      const difference = compare(verdict, ourVerdict(domains.get(name) ?? '', context));
      if (difference === undefined) compared++;
      else
        differences.push(
          `${name}: ${difference}\n${domains.get(name)?.replace(/^.*<\/emulator>|<\/devices>.*$/gs, '')}`,
        );
    }
  }, 120_000);
  afterAll(() => rmSync(cacheDir, { recursive: true }));

  it('is asked about enough of them', () => {
    // It crashes now and then at a random definition, and what follows is lost.
    expect(theirs.size).toBeGreaterThan(domains.size / 3);
    expect([...typicalDomains()].every(([name]) => theirs.get(name)?.command !== undefined)).toBe(true);
  });

  it('agrees on every definition', () => {
    expect(differences).toEqual([]);
    expect(compared).toBe(theirs.size);
  });
});

async function machineContext(dir: string): Promise<DriverContext> {
  const { capabilities } = await new CapabilitiesCache({ dir }).get(QEMU, 'tcg');
  return {
    caps: capabilities,
    host: mockHost([]),
    config: DEFAULT_CONFIG,
    layout: new Layout(SYSTEM_ROOTS),
    lookup: {},
    hostClock: { nowMs: Date.now(), utcOffsetSeconds: 0 },
    randomBytes: (count) => new Uint8Array(count).fill(7),
  };
}

function ourVerdict(xml: string, context: DriverContext): Verdict {
  try {
    return { command: formatCommand(planFromXml(xml, context), context.caps) };
  } catch (error) {
    if (error instanceof Error && /^(?:Virt|Definition)Error$/.test(error.name)) return { error: error.message };
    throw error;
  }
}

/** What differs without a known reason. */
function compare(theirs: Verdict, ours: Verdict): string | undefined {
  if (theirs.command !== undefined && ours.command !== undefined) {
    const { missing, surplus } = compareCommands(theirs.command, ours.command);
    const lines = [visible(missing), visible(surplus)] as const;
    const [gone, added] = [
      lines[0].filter((line) => !lines[1].includes(line)),
      lines[1].filter((line) => !lines[0].includes(line)),
    ];
    return gone.length + added.length === 0 ? undefined : `theirs ${gone.join(' ')}\n  ours ${added.join(' ')}`;
  }
  if (theirs.command === undefined && ours.command === undefined) return undefined;
  const [known, message] =
    theirs.error === undefined ? [REFUSED_BY_US, ours.error ?? ''] : [REFUSED_BY_THEM, theirs.error];
  if (known.some((pattern) => pattern.test(message))) return undefined;
  return `${theirs.error === undefined ? 'we refuse' : 'libvirt refuses'}: ${message}`;
}

/** The options that make the guest's hardware, in the words of libvirt 11. */
function visible(options: readonly string[]): string[] {
  return options
    .filter((option) => /^-(?:device|machine|cpu|m|smp|numa|global|rtc|boot) /.test(option))
    .filter((option) => !/^-global ICH9-LPC\.noreboot|^-rtc base=\d/.test(option))
    .map((option) =>
      option
        .replace(/,(?:acpi|hpet)=(?:on|off)|,pcspk-audiodev=\w+|,clusters=1|,migratable=on/g, '')
        .replace(/^-m (\d+)$/, (_, mib: string) => `-m size=${Number(mib) * 1024}k`)
        .replace(/"libvirt-(\d+)-\w+"/, '"libvirt-$1"')
        .replace(/"virtio-iommu"/, '"virtio-iommu-pci"'),
    );
}

/** libvirt's refusals that are about this host or its own state, or that newer ones do not have. */
const REFUSED_BY_THEM: readonly RegExp[] = [
  /cannot open directory|Could not open|Failed to connect socket|cannot be found|No such file|Unable to/,
  /Expected (?:non-negative )?integer|cause is unknown|connect flags 00/,
  /outside tolerance range|unknown CPU feature|incompatible with host CPU/,
  // Newer ones take the host's width then.
  /bits= must be specified too/,
  /\(non-\)transitional models are not supported for input/,
  /USB host device is missing|PCI passthrough type/,
  /only a single watchdog|unknown watchdog model|unknown panic model/,
];

/** Refusals of ours that libvirt 9 does not have; the first are of empty names, which the grammar allows. */
const REFUSED_BY_US: readonly RegExp[] = [
  /@mode: value ''|needs <source|channel ''|may not be empty|@port: value ''/,
  /reconnecting needs a timeout/,
  /SPICE with TLS is switched off/,
  /outside 0 to 65535/,
  /iommu, ats, packed and page_per_vq/,
  // Without KVM libvirt 9 does not look at what it cannot use.
  /is no name of a CPU model|needs a pseries machine/,
];

function* typicalDomains(): Generator<[string, string]> {
  for (const name of ['q35-typical', 'pc-typical']) {
    yield [name, readFileSync(new URL(`../fixtures/domains/${name}.xml`, import.meta.url), 'utf8')];
  }
}

/** Plain guests with one random thing each. */
function* randomDomains(): Generator<[string, string]> {
  const random = seededRandom(4711);
  const sampler = new GrammarSampler(SCHEMA, random, {
    isWanted: (node) =>
      !(node.name === 'ref' && NOT_TRIED.has(node.attribute('name') ?? '')) &&
      !(node.name === 'element' && NOT_TRIED.has(node.attribute('name') ?? '')) &&
      !(node.name === 'value' && OTHER_PLATFORMS.has(node.text)),
    density: 0.25,
    samples: {
      cpuset: ['0-1', '1'],
      unit: ['KiB', 'k', 'M'],
      unsignedInt: ['1', '2', '7'],
      diskTargetDev: ['vda', 'sda', 'hda', 'sdb', 'fda'],
      absFilePath: ['/tmp/a', '/tmp/b'],
      filePath: ['/tmp/c'],
    },
  });
  for (const kind of KINDS) {
    for (let index = 0; index < EACH; index++) {
      const name = `${kind}${index}`;
      const text = sampler
        .samples(kind)
        .map((element) => formatXml(element))
        .join('');
      const machine = random() < 0.6 ? 'pc-q35-7.2' : 'pc-i440fx-7.2';
      yield [name, IN_DOMAIN.has(kind) ? plainDomain(name, machine, text, '') : plainDomain(name, machine, '', text)];
    }
  }
}

/** Addresses and aliases are tried elsewhere; the rest is for other hypervisors or leads out of this machine. */
const NOT_TRIED = new Set(
  'address alias acpi hostdevcaps devSeclabel deviceBoot diskAuthSecret diskMirror privateDataDeviceDisk privateDataStorageSource privateData mirror boot seclabel vnet log'.split(
    ' ',
  ),
);
const OTHER_PLATFORMS = new Set(
  'xen lxc bhyve vz parallels openvz vmware vbox test uml hvf spapr-vio ccw sclp s390 nvdimm'.split(' '),
);

function plainDomain(name: string, machine: string, body: string, devices: string): string {
  const has = (element: string): boolean => body.includes(`<${element}`);
  const memory = devices.includes('<memory ')
    ? "<maxMemory slots='4' unit='KiB'>8388608</maxMemory><cpu><numa><cell id='0' cpus='0-1' memory='262144'/></numa></cpu>"
    : '';
  return `<domain type='qemu'><name>${name}</name><uuid>11dbdcdd-4c3b-482b-8903-9bdb8c0a2774</uuid>
    <memory>262144</memory><vcpu>2</vcpu><iothreads>4</iothreads>${memory}
    <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
    <os><type arch='x86_64' machine='${machine}'>hvm</type></os>
    ${has('features') ? '' : '<features><acpi/></features>'}${body}
    <devices><emulator>${QEMU}</emulator>${devices}</devices></domain>`;
}
