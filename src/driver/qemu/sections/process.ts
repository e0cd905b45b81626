/** Options that are about the QEMU process rather than the guest: defaults switched off, sandbox, message stamps. */
import { hasOption } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';

/** No configuration files and no devices that the definition does not name. */
export function planNoDefaults(): Part[] {
  return [
    { kind: 'option', option: 'no-user-config' },
    { kind: 'option', option: 'nodefaults' },
  ];
}

/** The system call filter. */
export function planSandbox({ caps, config }: PlanContext): Part[] {
  if (config.seccompSandbox === 0) {
    return hasOption(caps, 'sandbox') ? [{ kind: 'option', option: 'sandbox', value: 'off' }] : [];
  }
  if (!hasOption(caps, 'sandbox', 'enable') && !hasOption(caps, 'sandbox')) return [];
  const props = {
    enable: true,
    obsolete: 'deny',
    elevateprivileges: 'deny',
    spawn: 'deny',
    resourcecontrol: 'deny',
  };
  return [{ kind: 'keyval', option: 'sandbox', props, implied: 'enable' }];
}

/** Time stamps on QEMU's messages. */
export function planMessages({ caps }: PlanContext): Part[] {
  return hasOption(caps, 'msg', 'timestamp') ? [{ kind: 'keyval', option: 'msg', props: { timestamp: true } }] : [];
}

/** How QEMU treats what is deprecated in its monitor (`<qemu:deprecation>`). */
export function planDeprecation({ domain, caps, config }: PlanContext): Part[] {
  const behavior = domain.qemuDeprecation?.behavior ?? config.deprecationBehavior;
  if (behavior === 'none' || !hasOption(caps, 'compat')) return [];
  const input = behavior === 'omit' ? undefined : behavior;
  return [{ kind: 'keyval', option: 'compat', props: { 'deprecated-output': 'hide', 'deprecated-input': input } }];
}

/** A filter that was asked for and cannot be had. */
export function validateProcess(context: DomainContext): void {
  if (context.config.seccompSandbox === 1 && !hasOption(context.caps, 'sandbox')) {
    fault(context, context.domain, 'this QEMU was built without the seccomp sandbox that the configuration demands');
  }
}
