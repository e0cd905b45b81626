/** How a network reaches the outside, and whether its bridge is its driver's to make. */
import type { Network } from './network.ts';

/** Modes of `<forward>`; a network without one is isolated. */
export const FORWARD_MODES = ['nat', 'route', 'open', 'bridge', 'private', 'vepa', 'passthrough', 'hostdev'] as const;
export type ForwardMode = (typeof FORWARD_MODES)[number];

/** The mode, `none` for isolated networks. */
export function forwardMode(network: Pick<Network, 'forward'>): ForwardMode | 'none' {
  return network.forward?.mode ?? 'none';
}

/** Whether the network is a bridge that its driver makes. */
export function hasOwnBridge(network: Pick<Network, 'forward'>): boolean {
  return ['none', 'nat', 'route', 'open'].includes(forwardMode(network));
}
