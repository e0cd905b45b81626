/** Redirected USB devices, and the filter that all of them share. */
import { ANY, type Redirdev, type UsbFilterRule } from '../../../../model/domain/devices/redirdev.ts';
import { addressProps } from '../../addresses/props.ts';
import { hasDevice, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { fillChardevDefaults, validateChardev } from '../chardev-rules.ts';
import { deviceFamily } from '../family.ts';
import { redirdevAddressNeed } from './addresses.ts';

export const FAMILY = deviceFamily<Redirdev>({
  name: 'redirdev',
  select: (domain) => domain.devices?.redirdevs ?? [],
  fillDefaults: (device, { domain }) => {
    if (device.type !== undefined) fillChardevDefaults(device);
    for (const rule of domain.devices?.redirfilter?.rules ?? []) dropWildcards(rule);
  },
  validate: validateRedirdev,
  addressNeed: redirdevAddressNeed,
  alias: (_device, index) => `redir${index}`,
  plan: planRedirdev,
});

/** -1 means the same as no value, and is not written. */
function dropWildcards(rule: UsbFilterRule): void {
  for (const key of ['class', 'vendor', 'product', 'version'] as const) if (rule[key] === ANY) delete rule[key];
}

function validateRedirdev(device: Redirdev, context: DomainContext): void {
  if (device.type === undefined) fault(context, device, 'a redirected device needs a source type', '@type');
  else validateChardev(device, context);
  if (!hasDevice(context.caps, 'usb-redir')) {
    fault(context, device, "this QEMU has no device 'usb-redir'; install its USB redirection module");
  } else if (context.domain.devices?.redirfilter !== undefined && !hasProperty(context.caps, 'usb-redir', 'filter')) {
    fault(context, device, 'this QEMU cannot filter redirected USB devices');
  }
}

function planRedirdev(device: Redirdev, context: PlanContext): Part[] {
  const alias = device.alias?.name ?? '';
  const rules = context.domain.devices?.redirfilter?.rules ?? [];
  const props = {
    driver: 'usb-redir',
    chardev: chardevId(alias),
    id: alias,
    filter: rules.length === 0 ? undefined : rules.map((rule) => formatRule(rule)).join('|'),
    bootindex: bootIndexOf(device, context),
    ...addressProps(device, context),
  };
  return [...planChardev(device, alias, context, { spiceChannel: 'usbredir' }), { kind: 'device', props }];
}

/** `class:vendor:product:version:allow`, as usbredirfilter reads it. */
function formatRule(rule: UsbFilterRule): string {
  const fields = [
    hexOrAny(rule.class, 2),
    hexOrAny(rule.vendor, 4),
    hexOrAny(rule.product, 4),
    hexOrAny(rule.version, 4),
    rule.allow ? '1' : '0',
  ];
  return fields.join(':');
}

function hexOrAny(value: number | undefined, digits: number): string {
  if (value === undefined || value === ANY) return String(ANY);
  return `0x${value.toString(16).toUpperCase().padStart(digits, '0')}`;
}
