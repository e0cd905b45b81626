/** Which device nodes a group may use, in cgroup v1: a list. Its twin is `../v2/devices.ts`. */
import type { CgroupAction, DeviceRule } from '../action.ts';
import { write } from '../files.ts';

/** Nothing at first, then what the rules allow, in their order. */
export function setDevices(directory: string, rules: readonly DeviceRule[]): CgroupAction[] {
  return [
    write(directory, 'devices.deny', 'a'),
    ...rules.map((rule) => write(directory, rule.allow ? 'devices.allow' : 'devices.deny', formatRule(rule))),
  ];
}

/** `c 1:3 rwm`. */
export function formatRule({ type, major, minor, access }: DeviceRule): string {
  return `${type} ${major ?? '*'}:${minor ?? '*'} ${access}`;
}
