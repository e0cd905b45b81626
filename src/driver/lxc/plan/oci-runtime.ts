/** The OCI runtimes that containers run on, and in what they differ. Pure. */
import { basename } from 'node:path';
import type { DeviceRule } from '../../../cgroup/action.ts';
import type { OciDeviceRule } from './oci-spec.ts';

/** In the order in which they are looked for. crun leaves a container in the groups where it is made, and takes a third of the time. */
export const RUNTIMES = ['crun', 'runc'] as const;

export type RuntimeName = (typeof RUNTIMES)[number];

function isRunc(runtime: string): boolean {
  return basename(runtime) === 'runc';
}

/** Options before all others. */
export function runtimeWords({ runtime, stateDir }: { readonly runtime: string; readonly stateDir: string }): string[] {
  // To its log runc tells what it tries again, too; why it fails it says on stderr then.
  const own = isRunc(runtime) ? ['--log', '/dev/null'] : ['--cgroup-manager=disabled'];
  return [...own, '--root', stateDir];
}

/** Whether it puts containers into groups itself, with rules for devices; such a group has to be another than its own, and empty. */
export function placesContainers(runtime: string): boolean {
  return isRunc(runtime);
}

/** Whether it stays with a container whose terminal somebody else has. runc is in the terminal's way then: a monitor stays instead. */
export function staysWithContainer(runtime: string): boolean {
  return !isRunc(runtime);
}

/** Whether what it mounts may lie in /proc. */
export function mountsInProc(runtime: string): boolean {
  return !isRunc(runtime);
}

/** What runc allows beside what it is told, and fails where the group above does not: to make nodes of any device, and until 1.2 tun. */
export const RULES_OF_PLACED: readonly DeviceRule[] = [
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  { allow: true, type: 'c', major: 10, minor: 200, access: 'rwm' },
];

/** `undefined`: all, where nobody limits devices, or another group does. */
export function ociDeviceRules(rules: readonly DeviceRule[] | undefined): OciDeviceRule[] {
  if (rules === undefined) return [{ allow: true, access: 'rwm' }];
  return [
    { allow: false, access: 'rwm' },
    ...rules.map(({ allow, type, major, minor, access }) => ({
      allow,
      type,
      ...(major === undefined ? {} : { major }),
      ...(minor === undefined ? {} : { minor }),
      access,
    })),
  ];
}
