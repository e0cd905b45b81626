/**
 * Parts as QEMU's arguments, in the newest syntax that the binary understands, and a whole plan as the text of a
 * shell command. What the parts are is decided elsewhere.
 */
import { hasFeature, type QemuCapabilities } from '../capabilities/capabilities.ts';
import type { LaunchPlan } from './launch-plan.ts';
import type { Part } from './parts.ts';
import { formatJson, formatKeyval, type Props } from './props.ts';

/** The arguments of one part: an option and, for most, its value. */
export function renderPart(part: Part, caps: QemuCapabilities): string[] {
  switch (part.kind) {
    case 'option':
      return part.value === undefined ? [`-${part.option}`] : [`-${part.option}`, part.value];
    case 'argument':
      return [part.text];
    case 'keyval':
      return [`-${part.option}`, formatKeyval(part.props, part.implied)];
    case 'chardev':
      return ['-chardev', formatKeyval(part.props, 'backend')];
    case 'device':
      return ['-device', jsonOr(part.props, 'driver', hasFeature(caps, 'device-json-hotplug'))];
    case 'object':
      return ['-object', jsonOr(part.props, 'qom-type', hasFeature(caps, 'object-json'))];
    case 'netdev':
      return ['-netdev', jsonOr(part.props, 'type', hasFeature(caps, 'netdev-json'))];
    // blockdev and audiodev
    default:
      return [`-${part.kind}`, formatJson(part.props)];
  }
}

/** All arguments of a plan, without the program's own name. */
export function renderArguments(plan: Pick<LaunchPlan, 'parts'>, caps: QemuCapabilities): string[] {
  return plan.parts.flatMap((part) => renderPart(part, caps));
}

/** The plan as a shell command: environment, program, then one option a line. */
export function formatCommand(plan: LaunchPlan, caps: QemuCapabilities): string {
  const lines = Object.entries(plan.environment).map(([name, value]) => `${name}=${quoteForShell(value)}`);
  lines.push(quoteForShell(plan.binary));
  for (const part of plan.parts) {
    const words = renderPart(part, caps).map((word) => quoteForShell(word));
    lines.push(words.join(' '));
  }
  return `${lines.join(' \\\n')}\n`;
}

/** A word that a POSIX shell reads back as the given text. */
export function quoteForShell(text: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON, or key=value for a QEMU that takes no JSON there; `implied` is the property whose key may be left out. */
function jsonOr(props: Props, implied: string, json: boolean): string {
  return json ? formatJson(props) : formatKeyval(props, implied);
}
