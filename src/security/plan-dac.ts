/** Discretionary access control: as which user and group QEMU runs, and which files it is to own meanwhile. Pure. */
import {
  type DeviceLabel,
  type GuestLabel,
  type GuestResource,
  type LabelAction,
  type LabelLeft,
  type LiveLabel,
  type Owner,
  SecurityError,
} from './label-plan.ts';
import type { LabelRequest, ModelPlan } from './plan-labels.ts';
import { formatOwner, parseOwner, resolveGroup, resolveUser, supplementaryGroups } from './user-names.ts';

/** Device nodes that everybody on the host uses: taking them from the others is worse than a clear refusal. */
const SHARED_NODES = /^\/dev\/(?:null|zero|full|random|urandom|ptmx|kvm|net\/tun|vhost-\w+|vfio\/vfio|dri\/.*)$/;

export function planDac(request: LabelRequest, wish: GuestLabel | undefined): ModelPlan {
  const { settings, host, names, guest } = request;
  const type = wish?.type ?? 'dynamic';
  const isGiven = type === 'static' || wish?.label !== undefined;
  const owner = isGiven ? parseOwner(wish?.label ?? '', names) : configuredOwner(request);
  const isOther = owner.uid !== host.uid || owner.gid !== host.gid;
  if (isOther && host.uid !== 0) throw notRoot(request, owner);
  const relabel = type === 'dynamic' || (type === 'static' && wish?.relabel === true);
  const imageOwner = wish?.imagelabel === undefined ? owner : parseOwner(wish.imagelabel, names);
  const label = formatOwner(owner);
  const live: LiveLabel = {
    type,
    model: 'dac',
    relabel,
    ...(type === 'none' ? {} : { label }),
    ...(relabel ? { imagelabel: formatOwner(imageOwner) } : {}),
  };
  const why = !settings.dynamicOwnership
    ? 'dynamic_ownership is 0'
    : relabel
      ? undefined
      : `<seclabel type='${type}'> of ${guest.name}`;
  // An owner that changes nothing needs no rights, and gives none.
  const { actions, left } = isOther || host.uid === 0 ? planFiles(request, imageOwner, why) : { actions: [], left: [] };
  const user = { ...owner, supplementaryGroups: supplementaryGroups(owner, names) };
  return { process: isOther ? { user } : {}, live, actions, left, notes: [] };
}

/** Where QEMU keeps its user: only what belongs to helpers of another one. */
export function planOwners(request: LabelRequest): LabelAction[] {
  return request.resources.flatMap((resource) =>
    resource.owner === undefined ? [] : [actionFor(request, resource, undefined, resource.owner)],
  );
}

/** `user` and `group`; what is not given follows from the other, or is the caller's. */
function configuredOwner({ settings: { user, group }, host, names }: LabelRequest): Owner {
  const uid = user === undefined ? host.uid : resolveUser(user, names);
  const ownGid = user === undefined ? host.gid : (names.user(uid)?.gid ?? uid);
  return { uid, gid: group === undefined ? ownGid : resolveGroup(group, names) };
}

function notRoot({ guest, host, names }: LabelRequest, { uid, gid }: Owner): SecurityError {
  const own = names.user(host.uid)?.name ?? host.uid;
  return new SecurityError(
    `cannot run guest ${guest.name} as ${names.user(uid)?.name ?? uid}:${gid}: only root may change users, and this is ${own}; ` +
      "take user and group out of qemu.conf (or the <seclabel model='dac'> out of the definition), or start it as root",
    { model: 'dac', errno: 'EPERM' },
  );
}

function planFiles(
  request: LabelRequest,
  owner: Owner,
  why: string | undefined,
): { actions: LabelAction[]; left: LabelLeft[] } {
  const actions: LabelAction[] = [];
  const left: LabelLeft[] = [];
  for (const resource of request.resources) {
    if (actions.some(({ path }) => path === resource.path)) continue;
    const device = labelFor(resource.seclabels);
    const isFixed = device?.label === undefined ? why : undefined;
    // Its own sockets and folders QEMU has to reach whatever the settings say.
    const reason =
      resource.own === true && device === undefined
        ? undefined
        : device?.relabel === false
          ? "<seclabel relabel='no'/>"
          : SHARED_NODES.test(resource.path)
            ? 'others on this host use it'
            : isFixed;
    if (reason !== undefined) left.push({ model: 'dac', path: resource.path, why: reason });
    else actions.push(actionFor(request, resource, device, owner));
  }
  return { actions, left };
}

function actionFor(
  { settings, names }: LabelRequest,
  resource: GuestResource,
  device: DeviceLabel | undefined,
  owner: Owner,
): LabelAction {
  const label = device?.label === undefined ? (resource.owner ?? owner) : parseOwner(device.label, names);
  return {
    model: 'dac',
    path: resource.path,
    label: formatOwner(label),
    tree: resource.kind === 'tpm state',
    optional: resource.optional === true,
    restore: restoreOf(resource, settings.rememberOwner),
  };
}

/** Without memory, what other guests may use is never taken from them; libvirt does the same. */
function restoreOf(resource: GuestResource, remember: boolean): LabelAction['restore'] {
  if (resource.own === true) return 'never';
  if (remember) return 'remembered';
  const isShared = resource.readonly === true || resource.shareable === true || resource.kind === 'backing file';
  return isShared ? 'never' : 'default';
}

/** A device's own label of this model, or one of every model. */
function labelFor(labels: readonly DeviceLabel[] = []): DeviceLabel | undefined {
  return labels.find(({ model }) => model === 'dac') ?? labels.find(({ model }) => model === undefined);
}
