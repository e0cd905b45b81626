/** `<pm>` and the lifecycle actions: sleep states the firmware offers, and what QEMU does when the guest reboots. */
import { hasFeature, hasProperty } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { isQ35, isX86 } from '../machine.ts';
import type { Part } from '../plan/parts.ts';

type Domain = DomainContext['domain'];

/** `-global …disable_s3/s4`. */
export function planPowerManagement({ domain }: PlanContext): Part[] {
  const { suspendToMem, suspendToDisk } = domain.pm ?? {};
  const parts: Part[] = [];
  const add = (property: string, enabled: boolean | undefined): void => {
    if (enabled === undefined) return;
    const value = `${powerDevice(domain)}.${property}=${enabled ? 0 : 1}`;
    parts.push({ kind: 'option', option: 'global', value });
  };
  add('disable_s3', suspendToMem?.enabled);
  add('disable_s4', suspendToDisk?.enabled);
  return parts;
}

/**
 * What QEMU does at the guest's shutdown and reboot. The process stays up after a shutdown, so that whoever runs it
 * decides by `<on_poweroff>`; a reboot that must end the guest is made a shutdown.
 */
export function planLifecycle(context: PlanContext): Part[] {
  const { onReboot, onPoweroff, onCrash } = context.domain;
  if (hasFeature(context.caps, 'set-action')) {
    if (onReboot === 'destroy') {
      context.deferred.push({ command: 'set-action', arguments: { reboot: 'shutdown' } });
    }
    return [{ kind: 'option', option: 'no-shutdown' }];
  }
  const endsAlways =
    onReboot === 'destroy' && onPoweroff === 'destroy' && (onCrash === 'destroy' || onCrash === 'coredump-destroy');
  return [{ kind: 'option', option: endsAlways ? 'no-reboot' : 'no-shutdown' }];
}

/** Actions that libvirt assumes. */
export function fillLifecycleDefaults({ domain }: DomainContext): void {
  domain.onPoweroff ??= 'destroy';
  domain.onReboot ??= 'restart';
  domain.onCrash ??= 'destroy';
}

/** Actions and sleep states that QEMU does not offer. */
export function validateLifecycle(context: DomainContext): void {
  const { domain, caps } = context;
  const actions = { on_poweroff: domain.onPoweroff, on_reboot: domain.onReboot, on_crash: domain.onCrash };
  for (const [element, action] of Object.entries(actions)) {
    if (action === 'rename-restart') fault(context, domain, "QEMU guests have no action 'rename-restart'", element);
    if (element !== 'on_crash' && action === 'preserve') {
      fault(context, domain, "'preserve' is an action for <on_crash> only", element);
    }
    if (element !== 'on_crash' && action?.startsWith('coredump-') === true) {
      fault(context, domain, `'${action}' is an action for <on_crash> only`, element);
    }
  }
  if (domain.onPoweroff === 'restart' && domain.onReboot === 'destroy') {
    fault(
      context,
      domain,
      'QEMU cannot restart a guest that powers off and end one that reboots: choose one',
      'on_reboot',
    );
  }
  const { pm } = domain;
  if (pm === undefined) return;
  const device = powerDevice(domain);
  const supports = (property: string): boolean => isX86(domain) && hasProperty(caps, device, property);
  if (pm.suspendToMem?.enabled !== undefined && !supports('disable_s3')) {
    fault(context, pm, 'this machine has no ACPI S3 to control: remove it', 'suspend-to-mem');
  }
  if (pm.suspendToDisk?.enabled !== undefined && !supports('disable_s4')) {
    fault(context, pm, 'this machine has no ACPI S4 to control: remove it', 'suspend-to-disk');
  }
}

function powerDevice(domain: Domain): 'ICH9-LPC' | 'PIIX4_PM' {
  return isQ35(domain) ? 'ICH9-LPC' : 'PIIX4_PM';
}
