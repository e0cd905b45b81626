/**
 * One guest's security labels while it runs: planned from its definition, given before QEMU is spawned, changed with its devices, given back
 * when it has ended. Loaded only for guests that have any. What is decided is in `src/security`; what the guest's files are in
 * `guest-resources.ts`.
 */
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { abandon, DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { prepareRuntimeDir } from '../../../core/fs-runtime-dir.ts';
import type { Ledger } from '../../../core/ledger.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { ChildSetup, ExecLabel } from '../../../process/wrap-command.ts';
import { loadProfile } from '../../../security/apparmor-profile.ts';
import { type AppliedLabels, applyLabels } from '../../../security/applied-labels.ts';
import { type HostSecurity, readHostSecurity } from '../../../security/host-security.ts';
import { type GuestResource, type LabelPlan, type Owner, SecurityError } from '../../../security/label-plan.ts';
import { openFolders, requireReachable } from '../../../security/path-reach.ts';
import { planLabels } from '../../../security/plan-labels.ts';
import { reserveLevel } from '../../../security/reserve-level.ts';
import {
  formatOwner,
  readUserNames,
  resolveGroup,
  resolveUser,
  supplementaryGroups,
  type UserNames,
} from '../../../security/user-names.ts';
import type { Layout } from '../layout.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { HelperProcess } from '../plan/parts.ts';
import type { HelperIdentity } from '../runtime/helper-process.ts';
import { fillBackingChains } from '../runtime/plan-start.ts';
import type { DriverSecurity } from './driver-security.ts';
import { definedResources, ownResources, tpmResources } from './guest-resources.ts';
import { explainTpmAuthority } from './tpm-authority.ts';

export interface GuestSecurityRequest {
  readonly id: number;
  /** The live definition; its `<seclabel>`s become what the guest really has. */
  readonly domain: Domain;
  readonly settings: DriverSecurity;
  readonly ledger: Ledger;
  readonly root: { readonly path: string; readonly layout: Layout };
  /** What is made for the guest; undefined for one that runs already. */
  readonly plan?: Pick<LaunchPlan, 'files'> | undefined;
  readonly onNote?: ((note: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Of a process that is to be spawned. */
export type ProcessSetup = Pick<
  ChildSetup,
  'user' | 'group' | 'supplementaryGroups' | 'clearCapabilities' | 'execLabels'
>;

/** @throws VirtError naming what cannot be had, and how it can; nothing is left then */
export async function secureGuest(request: GuestSecurityRequest): Promise<GuestSecurity> {
  const undo = new DisposalStack();
  try {
    return await secure(request, undo);
  } catch (cause) {
    await abandon(undo, request.onNote);
    request.signal?.throwIfAborted();
    throw toVirtError(cause);
  }
}

async function secure(request: GuestSecurityRequest, undo: DisposalStack): Promise<GuestSecurity> {
  const planner = new Planner(request, undo);
  const planned = planner.plan([...definedResources(request.domain), ...planner.ownResources]);
  const { plan } = planned;
  const { ledger, signal } = request;
  const runtimeDir = prepareRuntimeDir();
  const isStarting = request.plan !== undefined;
  if (plan.profile !== undefined && isStarting)
    undo.use(await loadProfile(plan.profile, { ledger, dir: runtimeDir, signal }));
  const applied = undo.use(await applyLabels([], { ledger, lock: `${runtimeDir}/labels.lock` }));
  const security = new GuestSecurity(request, planner, { plan, applied, cleanup: undo });
  // A guest that runs has its labels; they are given back with its ledger.
  if (isStarting) await security.begin(planned, signal);
  return security;
}

interface Parts {
  readonly plan: LabelPlan;
  readonly applied: AppliedLabels;
  readonly cleanup: DisposalStack;
}

export class GuestSecurity implements AsyncDisposable {
  readonly #request: GuestSecurityRequest;
  readonly #planner: Planner;
  readonly #parts: Parts;

  constructor(request: GuestSecurityRequest, planner: Planner, parts: Parts) {
    this.#request = request;
    this.#planner = planner;
    this.#parts = parts;
  }

  /** Who runs QEMU, where it is somebody else than we. */
  get user(): Owner | undefined {
    return this.#parts.plan.process.user;
  }

  helperUser({ runsAs }: HelperProcess): Owner | undefined {
    return runsAs === 'swtpm' ? this.#planner.swtpmOwner : undefined;
  }

  /** Of QEMU's process. */
  get process(): ProcessSetup {
    const { user, selinux, apparmor } = this.#parts.plan.process;
    const { clearCapabilities } = this.#request.settings;
    const labels: ExecLabel[] = [
      ...(selinux === undefined ? [] : [{ file: '/proc/self/attr/exec', label: selinux }]),
      // The kernel's word for it.
      ...(apparmor === undefined ? [] : [{ file: this.#planner.appArmorFile, label: `exec ${apparmor}` }]),
    ];
    return {
      ...(user && { user: user.uid, group: user.gid, supplementaryGroups: user.supplementaryGroups }),
      clearCapabilities: clearCapabilities ?? user !== undefined,
      ...(labels.length > 0 && { execLabels: labels }),
    };
  }

  /** Who runs a helper, where it is somebody else than we. */
  helperIdentity(helper: HelperProcess): HelperIdentity | undefined {
    const owner = this.helperUser(helper);
    if (owner === undefined) return undefined;
    const { run } = this.#request.root.layout.roots;
    const temporary = `${run}/tmp-${owner.uid}`;
    mkdirSync(temporary, { recursive: true, mode: 0o700 });
    chownSync(temporary, owner.uid, owner.gid);
    openFolders([temporary], [dirname(dirname(run))]);
    const { names } = this.#planner;
    const gids = supplementaryGroups(owner, names);
    const name = names.user(owner.uid)?.name ?? String(owner.uid);
    const explain = (): string | undefined => explainTpmAuthority({ uid: owner.uid, gids, name });
    return { user: owner.uid, group: owner.gid, supplementaryGroups: gids, temporary, explain };
  }

  /** A helper listens here: QEMU is to connect. */
  async admitSocket(path: string): Promise<void> {
    const { plan } = this.#planner.plan([{ path, kind: 'socket', own: true, optional: true }]);
    await this.#parts.applied.add(plan.actions);
    this.#open(plan);
  }

  /** Makes a file that QEMU is to write, once: it may write to it, but not make it. */
  giveFile(path: string): void {
    writeFileSync(path, '', { mode: 0o600, flag: 'wx' });
    if (this.user !== undefined) chownSync(path, this.user.uid, this.user.gid);
  }

  /** Labels what a changed definition has and the guest has not yet: to be called before QEMU opens it. @throws VirtError */
  async admit(domain: Domain, signal?: AbortSignal): Promise<void> {
    try {
      await this.#apply(this.#planner.plan(await this.#resourcesOf(domain, signal)), signal);
    } catch (cause) {
      signal?.throwIfAborted();
      throw toVirtError(cause);
    }
  }

  /** Gives back what is not in the definition any more: to be called when QEMU has closed it. */
  async dismiss(domain: Domain, signal?: AbortSignal): Promise<void> {
    const resources = [...(await this.#resourcesOf(domain, signal)), ...this.#planner.ownResources];
    await this.#parts.applied.keepOnly(this.#planner.plan(resources).plan.actions, signal);
  }

  /** The start. @throws SecurityError */
  async begin(planned: Planned, signal: AbortSignal | undefined): Promise<void> {
    await this.#apply(planned, signal);
    const { live, notes } = planned.plan;
    for (const note of [...notes, ...this.#parts.applied.notes]) this.#request.onNote?.(note);
    const { domain } = this.#request;
    const models = new Set<string | undefined>([undefined, ...live.map(({ model }) => model)]);
    domain.seclabels = [
      ...live.map((label) => ({ ...label })),
      ...domain.seclabels.filter(({ model }) => !models.has(model)),
    ];
    this.#planner.running = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.cleanup[Symbol.asyncDispose]();
  }

  async #resourcesOf(domain: Domain, signal: AbortSignal | undefined): Promise<GuestResource[]> {
    const whole = cloneDefinition(domain);
    await fillBackingChains(whole, signal);
    return definedResources(whole);
  }

  async #apply({ plan, resources }: Planned, signal: AbortSignal | undefined): Promise<void> {
    await this.#parts.applied.add(plan.actions, signal);
    this.#open(plan);
    const { user } = this.#parts.plan.process;
    if (user === undefined) return;
    const person = {
      uid: user.uid,
      gids: [user.gid, ...user.supplementaryGroups],
      name: this.#planner.names.user(user.uid)?.name ?? String(user.uid),
    };
    const needsKvm = this.#request.domain.type === 'kvm' ? [{ path: '/dev/kvm', write: true, what: 'KVM' }] : [];
    await requireReachable([...needsKvm, ...wantedFiles(plan, resources)], person, signal);
  }

  /** Our own folders on the way to what QEMU may use. */
  #open({ actions }: LabelPlan): void {
    if (this.#parts.plan.process.user === undefined && this.#planner.swtpmOwner === undefined) return;
    const { path, layout } = this.#request.root;
    const { lib, run } = layout.roots;
    const tops = [...(path.startsWith('/') ? [path] : []), dirname(lib), dirname(dirname(run))];
    openFolders(
      actions.map((action) => action.path),
      tops,
    );
  }
}

interface Planned {
  readonly plan: LabelPlan;
  readonly resources: readonly GuestResource[];
}

/** Plans for one guest, the same way at its start and when its devices change. */
class Planner {
  readonly names: UserNames = readUserNames();
  readonly ownResources: readonly GuestResource[];
  readonly swtpmOwner: Owner | undefined;
  /** Its definition says what it has, no longer what it wants. */
  running: boolean;
  readonly #request: GuestSecurityRequest;
  readonly #host: HostSecurity;
  readonly #undo: DisposalStack;

  constructor(request: GuestSecurityRequest, undo: DisposalStack) {
    this.#request = request;
    this.#undo = undo;
    this.#host = readHostSecurity();
    const { settings, root, domain, plan, id } = request;
    this.running = plan === undefined;
    this.swtpmOwner = swtpmOwner(settings, this.#host, this.names);
    const { layout } = root;
    const dirs = [layout.domainDir(id, domain.name ?? ''), layout.channelDir(id, domain.name ?? '')];
    this.ownResources = [
      ...ownResources(plan ?? { files: [] }, dirs),
      ...(this.swtpmOwner === undefined ? [] : tpmResources(domain, layout, this.swtpmOwner)),
    ];
  }

  get appArmorFile(): string {
    return this.#host.apparmor?.attribute ?? '/proc/self/attr/exec';
  }

  plan(resources: readonly GuestResource[]): Planned {
    const { domain, settings } = this.#request;
    const plan = planLabels({
      settings,
      host: this.#host,
      names: this.names,
      guest: {
        name: domain.name ?? '',
        uuid: domain.uuid ?? '',
        kvm: domain.type === 'kvm',
        labels: domain.seclabels,
        running: this.running,
      },
      resources,
      reserveLevel: () => this.#reserveLevel(),
    });
    return { plan, resources };
  }

  #reserveLevel(): string {
    const reserved = reserveLevel({
      dir: `${prepareRuntimeDir()}/selinux-levels`,
      ledger: this.#request.ledger,
      ownContext: this.#host.selinux?.ownContext ?? '',
    });
    this.#undo.use(reserved);
    return reserved.level;
  }
}

/** What QEMU must be able to open once a plan is carried out. */
function wantedFiles(
  { actions, left }: LabelPlan,
  resources: readonly GuestResource[],
): { path: string; write: boolean; what: string }[] {
  const planned = new Set([...actions, ...left].map(({ path }) => path));
  return resources
    .filter(({ path, own, optional, kind, owner }) => {
      return planned.has(path) && own !== true && optional !== true && owner === undefined && kind !== 'render node';
    })
    .map(({ path, kind, readonly }) => ({ path, what: kind, write: readonly !== true && kind !== 'backing file' }));
}

function swtpmOwner(
  { swtpmUser, swtpmGroup }: DriverSecurity,
  host: HostSecurity,
  names: UserNames,
): Owner | undefined {
  if (swtpmUser === undefined && swtpmGroup === undefined) return undefined;
  const uid = swtpmUser === undefined ? host.uid : resolveUser(swtpmUser, names);
  const gid = swtpmGroup === undefined ? (names.user(uid)?.gid ?? uid) : resolveGroup(swtpmGroup, names);
  if (uid === host.uid && gid === host.gid) return undefined;
  if (host.uid === 0) return { uid, gid };
  throw new SecurityError(
    `cannot run swtpm as ${formatOwner({ uid, gid })}: only root may change users; take swtpm_user and swtpm_group out of qemu.conf`,
    { model: 'dac', errno: 'EPERM' },
  );
}

function toVirtError(cause: unknown): unknown {
  if (!(cause instanceof SecurityError)) return cause;
  return new VirtError(cause.message, { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.SECURITY, cause });
}
