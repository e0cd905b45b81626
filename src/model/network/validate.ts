/**
 * What a well-formed network definition may still get wrong: all that can be said without looking at the host or at other networks. The rules
 * are libvirt's, but for those that only its programs would notice later.
 */
import type { FaultList } from '../schema/faults.ts';
import { forwardMode, hasOwnBridge } from './forward-mode.ts';
import type { Network } from './network.ts';
import { validateDns } from './validate-dns.ts';
import { validateIps, validateRoutes } from './validate-ip.ts';

/** Modes in which guests sit on devices of the host, without a bridge. */
const BRIDGELESS = new Set(['private', 'vepa', 'passthrough', 'hostdev']);

/** Adds what is wrong to `faults`. */
export function validateNetwork(network: Network, faults: FaultList): void {
  if (network.name.includes('/')) faults.add(network, `name '${network.name}' cannot contain '/'`, 'name');
  if (network.name.trim() === '') faults.add(network, 'the name is empty', 'name');
  validateForward(network, faults);
  validateBridge(network, faults);
  validateDns(network, faults);
  validateIps(network, faults);
  validateRoutes(network, faults);
  validatePortgroups(network, faults);
  validateProfiles(network, faults);
  validatePortForwards(network, faults);
}

function validateForward(network: Network, faults: FaultList): void {
  const { forward, name } = network;
  if (forward === undefined) return;
  const { mode, interfaces, addresses, pfs, dev } = forward;
  const kinds = [interfaces.length > 0, addresses.length > 0, pfs.length > 0].filter(Boolean).length;
  if (kinds > 1) {
    faults.add(forward, `<address>, <interface> and <pf> in <forward> of network '${name}' exclude each other`);
  }
  if (pfs.length > 1) faults.add(forward, `<forward> of network '${name}' may have only one <pf>`);
  const first = interfaces[0]?.dev ?? (pfs.length === 0 ? undefined : pfs[0]?.dev);
  if (dev !== undefined && first !== undefined && dev !== first) {
    faults.add(forward, `forward dev '${dev}' must match the first interface '${first}' in network '${name}'`);
  }
  if (forward.nat !== undefined && mode !== 'nat') {
    faults.add(forward, `<nat> can only be used where forward mode is 'nat', not '${mode}' (network '${name}')`);
  }
  validateNat(network, faults);
  if ((mode === 'nat' || mode === 'route') && interfaces.length > 1) {
    faults.add(forward, `several forwarding interfaces for network '${name}': mode '${mode}' takes only one`);
  }
  if (mode === 'open' && first !== undefined) {
    faults.add(forward, `forward dev is not allowed for network '${name}' with forward mode='open'`);
  }
  if ((mode === 'nat' || mode === 'route') && !network.ips.some(({ address }) => address !== undefined)) {
    faults.add(forward, `${mode} forwarding requested, but no IP address provided for network '${name}'`);
  }
  if (addresses.length > 0 && mode !== 'hostdev') {
    faults.add(forward, `<address> in <forward> needs mode='hostdev' (network '${name}')`);
  }
  const needsDevice = mode === 'private' || mode === 'vepa' || mode === 'passthrough';
  if (needsDevice && kinds === 0) {
    faults.add(
      forward,
      `forward mode='${mode}' needs <interface dev='…'/>: which device of the host guests use (network '${name}')`,
    );
  }
}

function validateNat({ forward, name }: Network, faults: FaultList): void {
  const nat = forward?.nat;
  if (nat === undefined) return;
  const { address, port } = nat;
  if (address !== undefined && (address.start.includes(':') || address.end.includes(':'))) {
    faults.add(nat, `only IPv4 addresses can be masqueraded to (network '${name}')`, 'address');
  }
  if (port !== undefined && port.start > port.end) {
    faults.add(nat, `NAT ports ${port.start} to ${port.end} are reversed (network '${name}')`, 'port');
  }
}

function validateBridge(network: Network, faults: FaultList): void {
  const { bridge, name, forward } = network;
  const mode = forwardMode(network);
  if (hasOwnBridge(network)) return;
  if (bridge !== undefined && BRIDGELESS.has(mode)) {
    faults.add(bridge, `a bridge name is not allowed in ${mode} mode (network '${name}')`);
  }
  if (bridge?.name !== undefined && (forward?.interfaces.length ?? 0) > 0) {
    faults.add(
      bridge,
      `a network with forward mode='${mode}' can name a bridge or a forward dev, but not both (network '${name}')`,
    );
  }
  if (bridge?.delay !== undefined || bridge?.stp !== undefined) {
    faults.add(
      bridge,
      `bridge delay and stp are only allowed in open, route, nat and isolated mode, not in ${mode} (network '${name}')`,
    );
  }
  const unsupported = {
    mac: network.mac !== undefined,
    domain: network.domain !== undefined,
    dns: network.dns !== undefined,
    ip: network.ips.length > 0,
    mtu: network.mtu !== undefined,
    'nestling:portForward': network.portForwards.length > 0,
    'nestling:dhcpHostsFile': network.dhcpHostsFile !== undefined,
    bandwidth: network.bandwidth !== undefined && mode === 'hostdev',
  };
  for (const [element, isSaid] of Object.entries(unsupported)) {
    if (isSaid)
      faults.add(network, `unsupported <${element}> in network '${name}' with forward mode='${mode}'`, element);
  }
}

function validatePortgroups({ portgroups, name }: Network, faults: FaultList): void {
  const seen = new Set<string>();
  for (const group of portgroups) {
    if (seen.has(group.name)) {
      faults.add(group, `several <portgroup> with the same name '${group.name}' in network '${name}'`);
    }
    seen.add(group.name);
    if (group.bandwidth?.inbound?.floor !== undefined) {
      faults.add(group, `<bandwidth> of a portgroup cannot have 'floor' (network '${name}')`, 'bandwidth');
    }
  }
  const defaults = portgroups.filter((group) => group.default === true);
  if (defaults.length > 1) {
    faults.add(
      defaults[1] ?? {},
      `network '${name}' has several default <portgroup>: ${defaults.map((group) => group.name).join(', ')}`,
    );
  }
}

/** Tags and profiles are carried out by switches; a Linux bridge is none. */
function validateProfiles(network: Network, faults: FaultList): void {
  const mode = forwardMode(network);
  const takesTags = (type: string | undefined): boolean =>
    mode === 'hostdev' || mode === 'passthrough' || (mode === 'bridge' && type === 'openvswitch');
  const own = network.virtualport?.type;
  for (const place of [network, ...network.portgroups]) {
    if (place.vlan !== undefined && !takesTags(place.virtualport?.type ?? own)) {
      faults.add(
        place.vlan,
        `<vlan> in network '${network.name}', whose type does not support it: use mode='passthrough', 'hostdev', or a bridge of openvswitch`,
      );
    }
  }
  if (network.virtualport !== undefined && network.virtualport.type === undefined) {
    faults.add(network.virtualport, 'missing required virtualport type');
  }
  if (network.virtualport !== undefined && hasOwnBridge(network)) {
    faults.add(
      network.virtualport,
      `<virtualport> in network '${network.name}' with forward mode='${mode}', which has no switch that knows it`,
    );
  }
}

function validatePortForwards({ portForwards, dhcpHostsFile, ips, name }: Network, faults: FaultList): void {
  if (dhcpHostsFile !== undefined && !dhcpHostsFile.path.startsWith('/')) {
    faults.add(dhcpHostsFile, `the path '${dhcpHostsFile.path}' is not absolute (network '${name}')`, '@path');
  }
  if (dhcpHostsFile !== undefined && !ips.some(({ dhcp }) => dhcp !== undefined)) {
    faults.add(dhcpHostsFile, `network '${name}' has no <dhcp> for the hosts of that file`);
  }
  const taken = new Set<string>();
  for (const forward of portForwards) {
    const key = `${forward.proto} ${forward.address ?? '*'} ${forward.port}`;
    if (taken.has(key)) {
      faults.add(forward, `host port ${forward.port}/${forward.proto} is forwarded twice in network '${name}'`);
    }
    taken.add(key);
  }
}
