/** A made-up host and QEMU for tests of the planner, and a definition around the piece that a test is about. */
import { CAPABILITIES_FORMAT, type QemuCapabilities } from '../../src/driver/qemu/capabilities/capabilities.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../../src/driver/qemu/config.ts';
import { type DomainContext, type DriverContext, PlanContext } from '../../src/driver/qemu/context.ts';
import { Layout, SYSTEM_ROOTS } from '../../src/driver/qemu/layout.ts';
import type { HostFacts } from '../../src/host/host-facts.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { FaultList } from '../../src/model/schema/faults.ts';

/** What a test says about its host; the rest is made up. */
export interface PlanHost extends Partial<Omit<DriverContext, 'caps' | 'host' | 'config'>> {
  readonly caps?: Partial<QemuCapabilities>;
  readonly host?: Partial<HostFacts>;
  readonly config?: Partial<QemuConfig>;
}

/** A QEMU 10 for x86_64 with two boards and nothing else unless given. */
export function fakeCapabilities(given: Partial<QemuCapabilities> = {}): QemuCapabilities {
  return {
    format: CAPABILITIES_FORMAT,
    binary: '/usr/bin/qemu-system-x86_64',
    version: { major: 10, minor: 0, micro: 0 },
    package: '',
    arch: 'x86_64',
    kvm: { present: true, enabled: true },
    machines: [
      { name: 'pc-i440fx-10.0', alias: 'pc', isDefault: true, cpuMax: 255, defaultRamId: 'pc.ram', acpi: true },
      { name: 'pc-q35-10.0', alias: 'q35', cpuMax: 4096, defaultRamId: 'pc.ram', acpi: true },
    ],
    accelerators: { kvm: { cpus: [] }, tcg: { cpus: [] } },
    types: [],
    properties: {},
    options: {},
    migrationCapabilities: [],
    tpmModels: [],
    tpmTypes: [],
    commands: [],
    events: [],
    features: [],
    ...given,
  };
}

/** A context for one definition. */
export function planContext(xml: string, { caps, host, config, ...rest }: PlanHost = {}): PlanContext {
  const facts: HostFacts = {
    arch: 'x86_64',
    cpu: { vendor: 'GenuineIntel', family: 6, model: 1, flags: [] },
    topology: { cpus: [], sockets: 1, cores: 1, threads: 1 },
    numaNodes: [],
    pageSizesKiB: [4],
    memoryKiB: 1_048_576,
    kvm: { usable: true, timeMs: 1 },
    whoAmI: { uid: 0, gid: 0, groups: [0], userNamespace: false },
    firmware: { descriptors: [], problems: [] },
    helpers: {},
    ...host,
  };
  const context: DomainContext = {
    caps: fakeCapabilities(caps),
    host: facts,
    config: { ...DEFAULT_CONFIG, ...config },
    layout: new Layout(SYSTEM_ROOTS),
    lookup: {},
    domain: parseDomain(xml).domain,
    faults: new FaultList(),
    ...rest,
  };
  return new PlanContext(context, 1);
}

/** A definition with the given children of `<domain>`. */
export function domainXml(body: string, type = 'qemu'): string {
  return `<domain type='${type}'><name>guest</name><memory>1024</memory>${body}</domain>`;
}

/** The messages gathered so far. */
export function faultsOf(context: DomainContext): string[] {
  return context.faults.faults.map(({ message }) => message);
}
