/**
 * Which security module labels containers, and what a container's label is: from `lxc.conf`, the host's modules and the definition's `<seclabel>`s, with
 * libvirt's rules and codes. Labels are named by the definition: none is generated here. Pure.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { Seclabel } from '../../../model/domain/seclabel.ts';
import { refuse } from './container-context.ts';

export type SecurityModel = 'selinux' | 'apparmor' | 'none';

/** Keys `security_*` of `lxc.conf`. */
export interface ContainerSecuritySettings {
  /** Undefined: what the host has. */
  readonly securityDriver: SecurityModel | undefined;
  /** Containers without a `<seclabel>` are meant to be confined. */
  readonly securityDefaultConfined: boolean;
  /** Containers that are not confined do not start. */
  readonly securityRequireConfined: boolean;
}

/** What the kernel has. */
export interface SecurityModules {
  readonly selinux: boolean;
  readonly apparmor: boolean;
}

/** @throws VirtError CONFIG_UNSUPPORTED for settings that this host cannot follow */
export function chooseSecurityModel(settings: ContainerSecuritySettings, modules: SecurityModules): SecurityModel {
  const { securityDriver: wanted, securityRequireConfined } = settings;
  if (wanted !== undefined && wanted !== 'none' && !modules[wanted]) {
    refuse(
      `lxc.conf: security_driver = "${wanted}": this kernel has ${wanted} not enabled; use "none", or leave the key out`,
    );
  }
  const model = wanted ?? (modules.selinux ? 'selinux' : modules.apparmor ? 'apparmor' : 'none');
  if (model === 'none' && securityRequireConfined) {
    refuse(
      'lxc.conf: security_require_confined = 1: nothing on this host confines containers (security model "none"); set it to 0',
    );
  }
  return model;
}

export interface LabelInput {
  readonly model: SecurityModel;
  readonly settings: ContainerSecuritySettings;
  /** Whether AppArmor's profile is loaded; undefined where that cannot be told. */
  readonly hasProfile: (name: string) => boolean | undefined;
}

/** Whether a container may start with the labels that its definition has. @throws VirtError CONFIG_UNSUPPORTED, XML_ERROR */
export function checkLabels(domain: Domain, { model, settings, hasProfile }: LabelInput): void {
  for (const label of domain.seclabels) {
    const named = label.model ?? model;
    if (named !== model) {
      refuse(
        `<seclabel model='${named}'>: security model '${named}' is not available here (containers are labelled by '${model}')`,
      );
    }
  }
  if (model === 'none') return;
  const [label] = domain.seclabels;
  const isConfined = label === undefined ? settings.securityDefaultConfined : label.type !== 'none';
  if (!isConfined) {
    if (settings.securityRequireConfined) {
      refuse(
        "unconfined containers are not allowed on this host (security_require_confined in lxc.conf): give it a <seclabel type='static'>",
      );
    }
    return;
  }
  requireStatic(label, model);
  if (model === 'apparmor' && hasProfile(label.label) === false) {
    throw new VirtError(
      `<seclabel>: AppArmor has no profile '${label.label}': load it with apparmor_parser, or name another`,
      { code: ErrorCode.XML_ERROR, domain: ErrorDomain.SECURITY },
    );
  }
}

function requireStatic(
  label: Seclabel | undefined,
  model: SecurityModel,
): asserts label is Seclabel & { readonly label: string } {
  if (label?.type === 'static' && label.label !== undefined) return;
  const what = model === 'apparmor' ? 'profile' : 'context';
  refuse(
    `no ${model} ${what} is generated for containers: name one with <seclabel type='static' model='${model}' relabel='no'><label>…</label></seclabel>, or start it unconfined with type='none'`,
  );
}
