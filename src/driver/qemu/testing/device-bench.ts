/**
 * For unit tests of device families: a guest with the given devices, completed, checked and planned by some families
 * alone, on a made-up QEMU that has everything the test names. No addresses are assigned and no host is looked at.
 */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { FaultList } from '../../../model/schema/faults.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import { FEATURE_QUERIES, type FeatureName } from '../capabilities/features.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../config.ts';
import { type DomainContext, type Lookup, PlanContext } from '../context.ts';
import { fillConsoleDefaults } from '../definition/console-defaults.ts';
import type { DeviceFamily } from '../devices/family.ts';
import { Layout, SYSTEM_ROOTS } from '../layout.ts';
import type { Part } from '../plan/parts.ts';
import { renderPart } from '../plan/render.ts';

export interface BenchOptions {
  readonly families: readonly DeviceFamily<DeviceInfo>[];
  readonly arch?: string;
  readonly machine?: string;
  readonly type?: 'kvm' | 'qemu';
  /** Elements of `<domain>` beside devices. */
  readonly xml?: string;
  readonly config?: Partial<QemuConfig>;
  readonly lookup?: Lookup;
  /** QOM types that the QEMU has. */
  readonly types?: readonly string[];
  readonly properties?: QemuCapabilities['properties'];
  /** Features that the QEMU lacks; it has all others. */
  readonly without?: readonly FeatureName[];
  readonly randomBytes?: (count: number) => Uint8Array;
  /** Changes the context before anything is planned. */
  readonly prepare?: (context: PlanContext) => void;
}

export interface BenchResult {
  readonly domain: Domain;
  /** Messages of all refusals. */
  readonly faults: readonly string[];
  readonly parts: readonly Part[];
  /** Each part as QEMU gets it: `-device {…}`. */
  readonly args: readonly string[];
  readonly context: PlanContext;
}

/** Completes, validates and plans the devices; what was refused is planned too. */
export function benchDevices(devicesXml: string, options: BenchOptions): BenchResult {
  const faults = new FaultList();
  const { arch = 'x86_64', machine = 'pc', type = 'qemu' } = options;
  const { domain } = parseDomain(
    `<domain type='${type}'><name>demo</name>${options.xml ?? ''}
      <os><type arch='${arch}' machine='${machine}'>hvm</type></os><devices>${devicesXml}</devices></domain>`,
  );
  const base = {
    domain,
    faults,
    caps: benchCapabilities(options),
    host: { helpers: { passt: { path: '/usr/bin/passt' } } } as DomainContext['host'],
    config: { ...DEFAULT_CONFIG, ...options.config },
    layout: new Layout(SYSTEM_ROOTS),
    lookup: options.lookup ?? {},
    randomBytes: options.randomBytes,
  };
  devicesOf(domain);
  fillConsoleDefaults(base);
  const { families } = options;
  for (const family of families) for (const device of family.select(domain)) family.fillDefaults?.(device, base);
  for (const family of families) for (const device of family.select(domain)) family.validate?.(device, base);
  for (const family of families) {
    family.select(domain).forEach((device, index) => {
      device.alias ??= { name: family.alias(device, index, base) };
    });
  }
  const context = new PlanContext(base, 1);
  options.prepare?.(context);
  const parts = families.flatMap((family) => family.select(domain).flatMap((device) => family.plan(device, context)));
  const args = parts.map((part) => renderPart(part, context.caps).join(' '));
  return { domain, faults: faults.faults.map(({ message }) => message), parts, args, context };
}

/** A QEMU 10 with the types and properties that a test names, and all features but those it takes away. */
export function benchCapabilities(
  options: Pick<BenchOptions, 'types' | 'properties' | 'without'> = {},
): QemuCapabilities {
  const without = new Set<string>(options.without);
  return {
    format: 1,
    binary: '/usr/bin/qemu-system-x86_64',
    version: { major: 10, minor: 0, micro: 0 },
    package: '',
    arch: 'x86_64',
    kvm: { present: true, enabled: true },
    machines: [],
    accelerators: {},
    types: options.types ?? [],
    properties: options.properties ?? {},
    options: {},
    migrationCapabilities: [],
    tpmModels: [],
    tpmTypes: [],
    commands: [],
    events: [],
    features: (Object.keys(FEATURE_QUERIES) as FeatureName[]).filter((name) => !without.has(name)),
  };
}
