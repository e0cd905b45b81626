/**
 * Decides a guest's security labels: what its process is to be, which file gets which label, and what its live definition says. Pure:
 * settings, the guest's wishes and files, and what the host has go in.
 */
import type { HostSecurity } from './host-security.ts';
import {
  type GuestLabel,
  type GuestResource,
  type LabelAction,
  type LabelLeft,
  type LabelPlan,
  type LiveLabel,
  type ProcessLabels,
  SecurityError,
  type SecurityModel,
} from './label-plan.ts';
import { planAppArmor } from './plan-apparmor.ts';
import { planDac, planOwners } from './plan-dac.ts';
import { planSelinux } from './plan-selinux.ts';
import { primaryModel, type SecuritySettings } from './security-settings.ts';
import type { UserNames } from './user-names.ts';

export interface LabelRequest {
  readonly settings: SecuritySettings;
  readonly host: HostSecurity;
  readonly names: UserNames;
  readonly guest: {
    readonly name: string;
    readonly uuid: string;
    /** With KVM, not emulated. */
    readonly kvm: boolean;
    readonly labels: readonly GuestLabel[];
    /** It runs already: its labels are what they are. */
    readonly running?: boolean | undefined;
  };
  readonly resources: readonly GuestResource[];
  /** A level like `s0:c107,c392` that no other guest has; asked once, and only when it is needed. */
  readonly reserveLevel: () => string;
}

/** What one model gives to the plan. */
export interface ModelPlan {
  readonly process: ProcessLabels;
  readonly live: LiveLabel;
  readonly actions: readonly LabelAction[];
  readonly left: readonly LabelLeft[];
  readonly notes: readonly string[];
  readonly profile?: LabelPlan['profile'];
}

const PLANNERS: Readonly<Record<SecurityModel, (request: LabelRequest, wish: GuestLabel | undefined) => ModelPlan>> = {
  selinux: planSelinux,
  apparmor: planAppArmor,
  dac: planDac,
};

/** @throws SecurityError for labels that this host or this caller cannot give */
export function planLabels(request: LabelRequest): LabelPlan {
  const active = activeModels(request);
  refuseUnavailable(request, active);
  if (request.settings.requireConfined && !active.some((model) => model !== 'dac')) {
    throw new SecurityError(
      `guest ${request.guest.name} cannot be confined: security_require_confined asks for it, and no security driver is in use; ` +
        'set security_driver to "selinux" or "apparmor", whichever this host has, or security_require_confined to 0',
    );
  }
  const plans = active.map((model) => {
    const wish = wishOf(request, model, active);
    const isConfined = (wish?.type ?? (request.settings.defaultConfined ? 'dynamic' : 'none')) !== 'none';
    if (request.settings.requireConfined && !isConfined) {
      throw new SecurityError(
        `guest ${request.guest.name} has no ${model} label, and security_require_confined allows no such guest here`,
        { model },
      );
    }
    return PLANNERS[model](request, wish ?? (isConfined ? undefined : { type: 'none', model }));
  });
  return {
    process: Object.assign({}, ...plans.map(({ process }) => process)) as ProcessLabels,
    actions: [...plans.flatMap(({ actions }) => actions), ...(active.includes('dac') ? [] : planOwners(request))],
    left: plans.flatMap(({ left }) => left),
    live: plans.map(({ live }) => live),
    notes: plans.flatMap(({ notes }) => notes),
    ...plans.map(({ profile }) => (profile === undefined ? {} : { profile })).find((found) => found.profile),
  };
}

/** In libvirt's order: the kernel's module first, then ownership. */
function activeModels({ settings, host, guest }: LabelRequest): SecurityModel[] {
  const models = new Set<SecurityModel>();
  const { drivers } = settings;
  if (drivers === 'probe') {
    const model = primaryModel(settings, host);
    if (model !== 'none') models.add(model);
  } else {
    for (const driver of drivers) {
      if (driver === 'selinux' || driver === 'apparmor') requireHost(host, driver, 'security_driver of qemu.conf');
      if (driver === 'selinux' || driver === 'apparmor' || driver === 'dac') models.add(driver);
    }
  }
  // What a guest asks for itself it gets, where the host has it.
  for (const { model, type } of guest.labels) {
    if (type === 'none') continue;
    if ((model === 'selinux' && host.selinux) || (model === 'apparmor' && host.apparmor)) models.add(model);
    if (model === 'dac' && type === 'static') models.add('dac');
  }
  if (settings.user !== undefined || settings.group !== undefined) models.add('dac');
  return (['selinux', 'apparmor', 'dac'] as const).filter((model) => models.has(model));
}

function requireHost(host: HostSecurity, model: 'selinux' | 'apparmor', who: string): void {
  if (host[model] !== undefined) return;
  const name = model === 'selinux' ? 'SELinux' : 'AppArmor';
  throw new SecurityError(`${who} asks for ${model}, but ${name} is not enabled on this host: set it to "none"`, {
    model,
  });
}

function refuseUnavailable({ guest, host }: LabelRequest, active: readonly SecurityModel[]): void {
  for (const { model, type } of guest.labels) {
    if (model === undefined || type === 'none' || model === 'none') continue;
    if (model !== 'selinux' && model !== 'apparmor' && model !== 'dac') {
      throw new SecurityError(
        `<seclabel model='${model}'> of guest ${guest.name}: there is no such model, only selinux, apparmor and dac`,
      );
    }
    if (model !== 'dac' && !active.includes(model)) requireHost(host, model, `<seclabel> of guest ${guest.name}`);
  }
}

/** What the guest says of a model; a label without one means the first. */
function wishOf(
  { guest }: LabelRequest,
  model: SecurityModel,
  active: readonly SecurityModel[],
): GuestLabel | undefined {
  const wish =
    guest.labels.find((label) => label.model === model) ??
    (active[0] === model ? guest.labels.find((label) => label.model === undefined) : undefined);
  if (wish === undefined || guest.running === true) return wish;
  // Printed from a running guest, and that guest's: this one gets its own.
  const { type = 'dynamic', relabel, label, baselabel } = wish;
  return { model, type, relabel, baselabel, label: type === 'static' ? label : undefined };
}
