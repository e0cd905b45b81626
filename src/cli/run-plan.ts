/** `nestling run --dry-run`: what a start would do, as text or JSON. Makes no directory and starts no guest. */
import { tmpdir } from 'node:os';
import { toVirtError } from '../api/errors.ts';
import { runtimeDirCandidates } from '../core/fs-runtime-dir.ts';
import type { DomainPlan } from '../driver/driver.ts';
import { CapabilitiesCache } from '../driver/qemu/capabilities/cache.ts';
import { DEFAULT_CONFIG } from '../driver/qemu/config.ts';
import { Layout } from '../driver/qemu/layout.ts';
import { HostReservations } from '../driver/qemu/runtime/host-lookup.ts';
import { describePlan, planStart } from '../driver/qemu/runtime/plan-start.ts';
import { prepareGuest } from '../driver/qemu/runtime/prepare-guest.ts';
import { layoutRootsIn } from '../driver/qemu/runtime/qemu-root.ts';
import { loadSettings } from '../driver/qemu/settings-files.ts';
import { foldersBelow } from '../guest/embedded-root.ts';
import type { JsonValue } from '../qmp/json.ts';
import { redact } from '../qmp/redact.ts';
import { isContainer } from './choose-bundle.ts';
import type { RunOptions } from './run-options.ts';
import type { RunReport } from './run-report.ts';
import { displayName } from './usage.ts';

/** Stands for what a real start draws at random. */
const UNIQUE = 'XXXXXXXX';

/** Prints the plan. @throws VirtError */
export async function printPlan(
  xml: string,
  options: RunOptions,
  report: RunReport,
  signal: AbortSignal,
): Promise<void> {
  const plan = withoutSecrets(await makePlan(xml, options, report, signal));
  process.stdout.write(options.json ? `${JSON.stringify(plan, undefined, 2)}\n` : formatPlan(plan));
}

async function makePlan(xml: string, options: RunOptions, report: RunReport, signal: AbortSignal): Promise<DomainPlan> {
  try {
    if (isContainer(xml)) {
      return await planOfContainer(xml, options, report);
    }
    const settings = await loadSettings({ root: options.root });
    for (const note of settings?.notes ?? []) report.note(note);
    const config = { ...DEFAULT_CONFIG, slirpPortForward: true, ...settings?.config };
    const { context, notes } = await prepareGuest(xml, {
      cache: new CapabilitiesCache(),
      config,
      layout: layoutOf(options),
      lookup: {},
      accel: options.accel,
      name: options.name,
      fileName: displayName(options.xmlPath),
      onMark: (mark) => report.mark(mark),
      signal,
    });
    for (const note of notes) report.note(note);
    using lookup = new HostReservations().begin(config);
    const planned = await planStart(context, {
      id: 1,
      console: options.console ? 'always' : 'auto',
      placement: 'embedded',
      lookup,
      signal,
    });
    return describePlan(planned);
  } catch (error) {
    throw toVirtError(error, signal);
  }
}

async function planOfContainer(xml: string, options: RunOptions, report: RunReport): Promise<DomainPlan> {
  const { loadLxcSettings } = await import('../driver/lxc/runtime/lxc-settings-files.ts');
  const { planContainerXml } = await import('../driver/lxc/runtime/describe-plan.ts');
  const { config, notes } = await loadLxcSettings({ root: options.root });
  for (const note of notes) report.note(note);
  const { name, xmlPath } = options;
  return planContainerXml(xml, { name, fileName: displayName(xmlPath), runtime: config.runtime });
}

function layoutOf({ root }: RunOptions): Layout {
  const [runtimeDir = '/run/nestling'] = runtimeDirCandidates({
    uid: process.getuid?.() ?? 0,
    xdgRuntimeDir: process.env['XDG_RUNTIME_DIR'],
  });
  return new Layout(layoutRootsIn(foldersBelow(root ?? `${tmpdir()}/nestling-${UNIQUE}`, `${runtimeDir}/${UNIQUE}`)));
}

/** Passwords of displays stand in commands, cookies in references to secrets. */
function withoutSecrets(plan: DomainPlan): DomainPlan {
  const hide = (value: object): object => ({ ...(redact(structuredClone(value) as JsonValue) as object) });
  const hideCommand = (deferred: object): object => {
    const { command, ...rest } = deferred as { command: string };
    const { execute, ...shown } = hide({ execute: command, ...rest }) as { execute: string };
    return { command: execute, ...shown };
  };
  const hideReference = (fd: object): object =>
    'secret' in fd && typeof fd.secret === 'object' ? { ...fd, secret: { ...fd.secret, value: undefined } } : fd;
  return { ...plan, deferred: plan.deferred.map(hideCommand), fds: plan.fds.map(hideReference) };
}

function formatPlan(plan: DomainPlan): string {
  const sections = [
    plan.command.trimEnd(),
    ...list('inherited descriptors, from 3 on', plan.fds),
    ...list('files made before the start', plan.files),
    ...list('helper processes', plan.helpers),
    ...list("monitor commands before the guest's first instruction", plan.deferred),
  ];
  return `${sections.join('\n')}\n`;
}

function list(title: string, items: readonly object[]): string[] {
  return items.length === 0 ? [] : [`# ${title}:`, ...items.map((item) => `#   ${JSON.stringify(item)}`)];
}
