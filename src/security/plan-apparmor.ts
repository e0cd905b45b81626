/**
 * AppArmor: which profile a guest runs under. A dynamic one is named as libvirt names it and written from the guest's files on top of the rules
 * that libvirt's packages install; a static one is the administrator's. Pure; loading is the runtime's, through apparmor_parser(8).
 */
import { type GuestLabel, type GuestResource, type LiveLabel, SecurityError } from './label-plan.ts';
import type { LabelRequest, ModelPlan } from './plan-labels.ts';

const READ_ONLY_KINDS: ReadonlySet<GuestResource['kind']> = new Set([
  'backing file',
  'kernel',
  'initrd',
  'dtb',
  'acpi table',
  'firmware configuration',
]);

export function planAppArmor(request: LabelRequest, wish: GuestLabel | undefined): ModelPlan {
  const { host, guest } = request;
  if (host.apparmor === undefined)
    throw new SecurityError('AppArmor is not enabled on this host', { model: 'apparmor' });
  const type = wish?.type ?? 'dynamic';
  const none = { actions: [], left: [], notes: [] };
  if (type === 'none') return { process: {}, live: { type, model: 'apparmor', relabel: false }, ...none };
  if (type === 'static') {
    const label = requireName(wish?.label ?? '');
    return { process: { apparmor: label }, live: { type, model: 'apparmor', relabel: false, label }, ...none };
  }
  if (!host.apparmor.abstraction) {
    throw new SecurityError(
      'cannot confine the guest with AppArmor: /etc/apparmor.d/abstractions/libvirt-qemu is missing; install libvirt-daemon-system, ' +
        "or use <seclabel type='static' model='apparmor'> with a profile of yours, or security_driver = \"none\"",
      { model: 'apparmor' },
    );
  }
  const name = profileName(guest.uuid);
  const live: LiveLabel = { type, model: 'apparmor', relabel: true, label: name, imagelabel: name };
  return {
    process: { apparmor: name },
    live,
    ...none,
    profile: { name, text: profileText(name, request.resources, wish?.baselabel) },
  };
}

/** `libvirt-UUID` */
export function profileName(uuid: string): string {
  return `libvirt-${uuid}`;
}

/** The rules of every guest, and one line for each of its files. @throws SecurityError for a path that a rule cannot hold */
export function profileText(
  name: string,
  resources: readonly GuestResource[],
  base = 'abstractions/libvirt-qemu',
): string {
  const rules = new Set(
    resources.map((resource) => `  ${quoted(resource.path)}${treeOf(resource)} ${accessOf(resource)},`),
  );
  return [
    '#include <tunables/global>',
    `profile ${name} flags=(attach_disconnected) {`,
    `  #include <${base}>`,
    ...rules,
    '}',
    '',
  ].join('\n');
}

function treeOf({ kind }: GuestResource): string {
  return kind === 'directory' || kind === 'tpm state' || kind === 'hugepages' ? '{,/**}' : '';
}

/** `k`: QEMU locks the images that it has open. */
function accessOf({ kind, readonly }: GuestResource): string {
  return readonly === true || READ_ONLY_KINDS.has(kind) ? 'rk' : 'rwk';
}

/** In a rule these stand for many files. */
function quoted(path: string): string {
  if (/["\n]/.test(path)) {
    throw new SecurityError(`cannot write an AppArmor rule for '${path}': rename it without quotes and line ends`, {
      model: 'apparmor',
      path,
    });
  }
  return `"${path.replace(/[\\[\]{}*?^]/g, '\\$&')}"`;
}

function requireName(label: string): string {
  if (/^[\w./+:-]+(?:\/\/[\w./+:-]+)?$/.test(label)) return label;
  throw new SecurityError(`'${label}' is no AppArmor profile's name`, { model: 'apparmor' });
}
