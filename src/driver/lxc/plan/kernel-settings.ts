/**
 * Which of the kernel's settings (`/proc/sys`) root in a container may write. They are mounted read-only, which a root that may mount can undo: where it is
 * the host's root, a program on its group of cgroup v2 says so once more. Pure.
 */
import { type NetworkOwner, SETTINGS_HOOK, settingsProgram } from '../../../cgroup/settings-program.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { NurseryProgram, NurseryRequest } from '../../../process/nursery-words.ts';
import { hasPrivateNetwork } from './mounts.ts';
import type { Person } from './person.ts';

/** Of a container: where its program goes, and whose network it has. */
export interface SettingsGuard {
  /** Group of cgroup v2 that all of its processes are in. */
  readonly directory: string;
  readonly network: NetworkOwner;
}

/** In the order in which a nursery has their programs. */
const NETWORKS: readonly NetworkOwner[] = ['own', 'host'];

/**
 * Undefined: nobody has to guard them, as its users are others than the host's root, whom alone the kernel lets write them, or its definition asks for all
 * capabilities.
 */
export function networkToGuard(domain: Domain, person: Person | undefined): NetworkOwner | undefined {
  const { features, idmap, lxcNamespace } = domain;
  const hasHostRoot = person === undefined && (idmap === undefined || idmap.uids.some(({ target }) => target === 0));
  if (!hasHostRoot || features?.capabilities?.policy === 'allow') return undefined;
  return hasPrivateNetwork(domain) || lxcNamespace?.sharenet !== undefined ? 'own' : 'host';
}

/** For a nursery. */
export function settingsPrograms(): NurseryProgram[] {
  const { programType, attachType, name } = SETTINGS_HOOK;
  return NETWORKS.map((network) => ({ programType, attachType, name, code: settingsProgram(network) }));
}

/** For one of its children. */
export function programsOf(guard: SettingsGuard | undefined): NonNullable<NurseryRequest['programs']> {
  return guard === undefined ? [] : [{ place: NETWORKS.indexOf(guard.network), directory: guard.directory }];
}
