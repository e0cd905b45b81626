/**
 * Why one definition does not start: what can be seen beforehand, and then the start itself, up to the guest's first instruction, by the
 * driver that would run it. The first thing that is wrong is named; the start leaves nothing.
 */
import { detectCgroups } from '../cgroup/detect.ts';
import type { LxcDriver } from '../driver/lxc/runtime/lxc-driver.ts';
import type { QemuDriver } from '../driver/qemu/runtime/qemu-driver.ts';
import { type Domain, parseDomain } from '../model/domain/domain.ts';
import type { Person } from '../security/path-access.ts';
import { checkContainerGuest } from './container-checks.ts';
import { type DoctorHost, type Finding, fail, pass, readText, warn } from './finding.ts';
import { checkChains, checkFiles } from './guest-files.ts';
import { checkPorts } from './guest-ports.ts';
import { explain } from './knowledge.ts';

export interface GuestOptions {
  readonly xml: string;
  readonly fileName: string;
  /** Whether the guest is really started. */
  readonly start: boolean;
  readonly person: Person;
  /** Opens a driver with a temporary root; disposed by the check. */
  readonly openDriver: () => Promise<QemuDriver>;
  /** The same for containers. */
  readonly openContainers: () => Promise<LxcDriver>;
  readonly accel?: 'auto' | 'kvm' | 'tcg' | undefined;
}

/** All findings of one definition; after the first failure of the replay nothing else is tried. */
export async function checkGuest(host: DoctorHost, options: GuestOptions): Promise<Finding[]> {
  let domain: Domain;
  try {
    const parsed = parseDomain(options.xml, { fileName: options.fileName });
    domain = parsed.domain;
    const warnings = parsed.warnings.map((warning) =>
      warn('guest-xml', 'definition', warning, 'what is not known has no effect'),
    );
    if (domain.type === 'lxc') {
      const { proc, run } = host;
      const cgroups = detectCgroups({ proc, systemdRuntime: `${run}/systemd/system` });
      const seen = checkContainerGuest(domain, cgroups);
      const isHopeless = seen.some(({ verdict }) => verdict === 'fail');
      return [...warnings, ...seen, ...(await replayContainer(host, options, isHopeless))];
    }
    const findings = [
      ...warnings,
      ...checkFiles(domain, options.person),
      ...(await checkChains(domain, options.person, host.signal)),
      ...checkConsole(domain),
      ...checkPower(domain),
      ...checkPorts(host, domain),
      ...checkSize(host, domain),
    ];
    return [
      ...findings,
      ...(await replay(
        host,
        options,
        findings.some(({ verdict }) => verdict === 'fail'),
      )),
    ];
  } catch (error) {
    host.signal?.throwIfAborted();
    return [
      fail(
        'guest-xml',
        'definition',
        messageOf(error),
        'the definition cannot be used as it is',
        `edit ${options.fileName}`,
      ),
    ];
  }
}

/** Without ACPI a PC has no power button that software hears, and no way to switch itself off. */
function checkPower({ type, os, features, devices }: Domain): Finding[] {
  const isPc = /^(x86_64|i[3-6]86)$/.test(os?.type?.arch ?? 'x86_64') && os?.type?.machine !== 'microvm';
  if (type === 'lxc' || !isPc || features?.acpi === true) return [];
  const hasAgent = devices?.channels.some(({ target }) => target?.name === 'org.qemu.guest_agent.0') === true;
  return [
    warn(
      'guest-acpi',
      'power',
      `the definition has no <acpi/>${hasAgent ? ', but a channel for the guest agent' : ''}`,
      hasAgent
        ? 'only the agent can shut the guest down (virsh shutdown --mode agent), and QEMU does not end when it has halted'
        : 'nobody can shut the guest down: virsh shutdown is not heard, and poweroff inside only halts it; what is left is virsh destroy',
      '<features><acpi/></features> in the definition',
    ),
  ];
}

function checkConsole({ devices, os }: Domain): Finding[] {
  const hasConsole = (devices?.serials.length ?? 0) + (devices?.consoles.length ?? 0) > 0;
  if (!hasConsole) {
    return [
      warn(
        'guest-console',
        'console',
        'the definition has no <serial> or <console>',
        "nothing of what the guest prints can be seen without a display: 'nothing on the serial console'",
        "<serial type='pty'/> in <devices>, and console=ttyS0 on the guest's kernel command line",
      ),
    ];
  }
  if (os?.kernel !== undefined && !/\bconsole=/.test(os.cmdline ?? '')) {
    return [
      warn(
        'guest-console',
        'console',
        'the kernel command line has no console=',
        'the kernel prints to the display only',
        '<cmdline>console=ttyS0 …</cmdline>',
      ),
    ];
  }
  return [pass('guest-console', 'console', 'there is one')];
}

/** What QEMU takes beside the guest's memory. */
const OVERHEAD_KIB = 200 * 1024;

function checkSize({ proc }: DoctorHost, { memory, memtune, memoryBacking, vcpu }: Domain): Finding[] {
  const wanted = memory?.value ?? 0;
  const meminfo = readText(`${proc}/meminfo`) ?? '';
  const number = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0);
  const findings: Finding[] = [];
  const toMiB = (sizeKiB: number): string => `${Math.round(sizeKiB / 1024)} MiB`;
  if (memoryBacking?.hugepages !== undefined) {
    const free = number('HugePages_Free') * number('Hugepagesize');
    findings.push(
      free >= wanted
        ? pass('guest-memory', 'huge pages', `${toMiB(free)} free`)
        : fail(
            'guest-memory',
            'huge pages',
            `${toMiB(free)} free, ${toMiB(wanted)} wanted`,
            "QEMU cannot map the guest's memory",
            `sysctl -w vm.nr_hugepages=${Math.ceil(wanted / Math.max(number('Hugepagesize'), 1))}`,
          ),
    );
  } else if (wanted > number('MemAvailable')) {
    findings.push(
      warn(
        'guest-memory',
        'memory',
        `the guest may use ${toMiB(wanted)}, ${toMiB(number('MemAvailable'))} are available`,
        'the kernel kills QEMU when the guest uses more',
        'less <memory>, or end other programs',
      ),
    );
  } else findings.push(pass('guest-memory', 'memory', toMiB(wanted)));
  if (memtune?.hardLimit !== undefined && memtune.hardLimit < wanted + OVERHEAD_KIB) {
    findings.push(
      warn(
        'guest-hard-limit',
        'memory limit',
        `<hard_limit> is ${toMiB(memtune.hardLimit)}, the guest has ${toMiB(wanted)}`,
        "QEMU's own memory counts too: the kernel kills it when the guest has filled its own",
        `<hard_limit unit='KiB'>${wanted + OVERHEAD_KIB}</hard_limit> or more`,
      ),
    );
  }
  const cpus = readText(`${proc}/cpuinfo`)?.match(/^processor/gm)?.length ?? 1;
  if ((vcpu?.value ?? 1) > cpus) {
    findings.push(
      warn(
        'guest-vcpus',
        'virtual CPUs',
        `${vcpu?.value} on ${cpus} of the host`,
        'they wait for each other',
        `<vcpu>${cpus}</vcpu>`,
      ),
    );
  }
  return findings;
}

/** Plans, and starts QEMU paused before the guest's first instruction, as 'nestling run' would. */
async function replay(host: DoctorHost, options: GuestOptions, isHopeless: boolean): Promise<Finding[]> {
  const { xml, fileName, start, openDriver, accel } = options;
  const { signal } = host;
  let opened: QemuDriver;
  try {
    opened = await openDriver();
  } catch (error) {
    signal?.throwIfAborted();
    return [failed('guest-plan', 'plan', error, 'nestling doctor   # checks this host')];
  }
  await using driver = opened;
  try {
    await driver.planDomain(xml, { fileName, accel, signal });
  } catch (error) {
    signal?.throwIfAborted();
    return [failed('guest-plan', 'plan', error, `edit ${fileName}`)];
  }
  const planned = pass('guest-plan', 'plan', 'the definition fits this host and this QEMU');
  if (!start || isHopeless) return [planned];
  try {
    const { uuid } = await driver.createXml(xml, { fileName, accel, paused: true, console: 'auto', signal });
    await driver.destroy(uuid, { signal });
    return [planned, pass('guest-start', 'start', 'QEMU starts, up to the first instruction of the guest')];
  } catch (error) {
    signal?.throwIfAborted();
    return [
      planned,
      failed('guest-start', 'start', error, `nestling run --log-filters '1:qemu 1:util.command' ${fileName}`),
    ];
  }
}

/** Plans, and has the runtime make the container, whose first program does not run. */
async function replayContainer(
  { signal }: DoctorHost,
  { xml, fileName, start, openContainers }: GuestOptions,
  isHopeless: boolean,
): Promise<Finding[]> {
  let planned: Finding | undefined;
  try {
    await using driver = await openContainers();
    await driver.planDomain(xml, { fileName, signal });
    planned = pass('guest-plan', 'plan', 'the definition fits this host and its OCI runtime');
    if (!start || isHopeless) return [planned];
    await driver.tryStart(xml, { fileName, signal });
    return [planned, pass('guest-start', 'start', 'the container is made, up to its first program')];
  } catch (error) {
    signal?.throwIfAborted();
    if (planned === undefined)
      return [failed('guest-plan', 'plan', error, missingPackage(error) ?? `edit ${fileName}`)];
    const more = `nestling run --log-filters '1:lxc 1:util.command' ${fileName}`;
    return [planned, failed('guest-start', 'start', error, more)];
  }
}

/** Errors about programs end with what to install. */
function missingPackage(error: unknown): string | undefined {
  const name = /: install ([a-z][a-z0-9.+-]+)/.exec(messageOf(error))?.[1];
  return name === undefined ? undefined : `apt-get install ${name}`;
}

/** The message itself, and what is known of it. */
function failed(id: string, title: string, error: unknown, otherwise: string): Finding {
  const message = messageOf(error);
  const [known] = explain(message);
  if (known === undefined) return fail(id, title, message, 'the guest does not start', otherwise);
  return fail(id, title, message, known.symptom.cause, known.symptom.fix);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
