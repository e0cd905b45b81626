/** Which device nodes a group may use, in cgroup v1: a list. Its twin is `../v2/devices.ts`. */
import type { CgroupAction, DeviceRule } from '../action.ts';
import { write } from '../files.ts';

/** Nothing at first, then what the rules allow, in their order. Where there are rules (`present`), those that are new are added. */
export function setDevices(
  directory: string,
  rules: readonly DeviceRule[],
  present?: readonly DeviceRule[],
): CgroupAction[] {
  const known = new Set(present?.map((rule) => `${rule.allow} ${formatRule(rule)}`));
  return [
    ...(present === undefined ? [write(directory, 'devices.deny', 'a')] : []),
    ...rules
      .filter((rule) => !known.has(`${rule.allow} ${formatRule(rule)}`))
      .map((rule) => write(directory, rule.allow ? 'devices.allow' : 'devices.deny', formatRule(rule))),
  ];
}

/** `c 1:3 rwm`. */
export function formatRule({ type, major, minor, access }: DeviceRule): string {
  return `${type} ${major ?? '*'}:${minor ?? '*'} ${access}`;
}
