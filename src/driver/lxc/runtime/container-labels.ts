/** Security labels of containers on this host: which module makes them, and whether a definition's may be used. Reads only. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Domain } from '../../../model/domain/domain.ts';
import { readHostSecurity } from '../../../security/host-security.ts';
import {
  type ContainerSecuritySettings,
  checkLabels,
  chooseSecurityModel,
  type SecurityModel,
} from '../plan/container-security.ts';

export interface LabelPlaces {
  readonly proc?: string;
  readonly sys?: string;
}

export class ContainerLabels {
  readonly #settings: ContainerSecuritySettings;
  readonly #places: LabelPlaces;
  #model: SecurityModel | undefined;

  /** @throws VirtError CONFIG_UNSUPPORTED for settings that this host cannot follow */
  constructor(settings: ContainerSecuritySettings, places: LabelPlaces = {}) {
    this.#settings = settings;
    this.#places = places;
    // Nobody is confined who was meant to be: said before the first start.
    if (settings.securityDriver !== undefined || settings.securityRequireConfined) void this.model;
  }

  /** Looked up when it is first asked for: most containers have no labels. */
  get model(): SecurityModel {
    this.#model ??= this.#choose();
    return this.#model;
  }

  /** Whether a container may start as its definition is. @throws VirtError CONFIG_UNSUPPORTED, XML_ERROR */
  check(domain: Domain): void {
    const { securityDefaultConfined, securityRequireConfined } = this.#settings;
    if (domain.seclabels.length === 0 && !securityDefaultConfined && !securityRequireConfined) return;
    checkLabels(domain, {
      model: this.model,
      settings: this.#settings,
      hasProfile: (name) => hasProfile(name, this.#places.sys),
    });
  }

  #choose(): SecurityModel {
    const { selinux, apparmor } = readHostSecurity(this.#places);
    return chooseSecurityModel(this.#settings, { selinux: selinux !== undefined, apparmor: apparmor !== undefined });
  }
}

/** The kernel's list: a line `NAME (MODE)` for each. Undefined where securityfs is not mounted. */
function hasProfile(name: string, sys = '/sys'): boolean | undefined {
  try {
    const list = readFileSync(join(sys, 'kernel/security/apparmor/profiles'), 'utf8');
    return list.split('\n').some((line) => line.replace(/ \(\w+\)$/, '') === name);
  } catch {
    return undefined;
  }
}
