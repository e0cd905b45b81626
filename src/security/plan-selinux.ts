/**
 * sVirt: the context of a guest's process and of its files. Guests are told apart by a pair of categories; what several only read has the
 * policy's content type, what several write the image type without categories. Pure.
 */
import type { SelinuxHost } from './host-security.ts';
import {
  type DeviceLabel,
  type GuestLabel,
  type GuestResource,
  type LabelAction,
  type LabelLeft,
  type LiveLabel,
  SecurityError,
} from './label-plan.ts';
import type { LabelRequest, ModelPlan } from './plan-labels.ts';
import { formatContext, parseContext } from './selinux-context.ts';

/** What QEMU only reads. */
const READ_ONLY_KINDS: ReadonlySet<GuestResource['kind']> = new Set([
  'backing file',
  'kernel',
  'initrd',
  'dtb',
  'acpi table',
  'firmware configuration',
]);

export function planSelinux(request: LabelRequest, wish: GuestLabel | undefined): ModelPlan {
  const { host, guest } = request;
  const { selinux } = host;
  if (selinux === undefined) throw new SecurityError('SELinux is not enabled on this host', { model: 'selinux' });
  const type = wish?.type ?? 'dynamic';
  if (type === 'none') return { process: {}, live: liveOf({ type, relabel: false }), actions: [], left: [], notes: [] };
  const label = type === 'static' ? staticLabel(guest.name, wish?.label) : dynamicLabel(request, selinux, wish);
  const { user, range } = parseContext(label);
  const image = formatContext({ ...parseContext(selinux.fileContext), user, range });
  const imagelabel = wish?.imagelabel ?? image;
  const relabel = type === 'dynamic' || wish?.relabel === true;
  const { actions, left } = planFiles(request, selinux, { imagelabel, relabel, name: guest.name });
  const live = liveOf({ type, relabel, label, baselabel: wish?.baselabel, ...(relabel ? { imagelabel } : {}) });
  return { process: { selinux: label }, live, actions, left, notes: [] };
}

function liveOf(label: Omit<LiveLabel, 'model'>): LiveLabel {
  return { ...label, model: 'selinux' };
}

function staticLabel(name: string, label: string | undefined): string {
  if (label === undefined) {
    throw new SecurityError(`<seclabel type='static'> of guest ${name} has no <label>`, { model: 'selinux' });
  }
  return formatContext(parseContext(label));
}

/** The policy's context, or the guest's own base, with a level of its own. The user and role of the caller, as libvirt has it. */
function dynamicLabel({ guest, reserveLevel }: LabelRequest, host: SelinuxHost, wish: GuestLabel | undefined): string {
  const base = parseContext(wish?.baselabel ?? (guest.kvm ? host.kvmContext : host.tcgContext));
  // A label that is there already is a guest's that is taken over.
  const range = wish?.label === undefined ? reserveLevel() : parseContext(wish.label).range;
  const own = host.ownContext === '' ? base : parseContext(host.ownContext);
  return formatContext({ user: own.user, role: own.role, type: base.type, range });
}

interface FileWish {
  readonly imagelabel: string;
  readonly relabel: boolean;
  readonly name: string;
}

function planFiles(
  { resources }: LabelRequest,
  host: SelinuxHost,
  { imagelabel, relabel, name }: FileWish,
): { actions: LabelAction[]; left: LabelLeft[] } {
  const actions: LabelAction[] = [];
  const left: LabelLeft[] = [];
  for (const resource of resources) {
    if (actions.some(({ path }) => path === resource.path)) continue;
    const device = labelFor(resource.seclabels);
    const why =
      device?.relabel === false
        ? "<seclabel relabel='no'/>"
        : !relabel && device?.label === undefined
          ? `<seclabel relabel='no'> of ${name}`
          : undefined;
    if (why !== undefined) {
      left.push({ model: 'selinux', path: resource.path, why });
      continue;
    }
    actions.push({
      model: 'selinux',
      path: resource.path,
      label: device?.label ?? contextOf(resource, host, imagelabel),
      tree: resource.kind === 'tpm state',
      optional: resource.optional === true,
      restore: restoreOf(resource),
    });
  }
  return { actions, left };
}

function contextOf({ kind, readonly, shareable }: GuestResource, host: SelinuxHost, imagelabel: string): string {
  if (readonly === true || READ_ONLY_KINDS.has(kind)) return host.contentContext;
  // Every guest's categories contain none.
  return shareable === true ? host.fileContext : imagelabel;
}

/** A context is looked at with every read: images that another guest may have open keep theirs, as with libvirt. */
function restoreOf({ own, kind, readonly, shareable }: GuestResource): LabelAction['restore'] {
  const isShared = kind === 'backing file' || (kind === 'disk' && (readonly === true || shareable === true));
  return own === true || isShared ? 'never' : 'remembered';
}

function labelFor(labels: readonly DeviceLabel[] = []): DeviceLabel | undefined {
  return labels.find(({ model }) => model === 'selinux') ?? labels.find(({ model }) => model === undefined);
}
