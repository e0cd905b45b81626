/**
 * Run by `network-device.test.ts` in a network namespace of its own, so that nothing of the host's network is touched:
 * carries out what its first argument says and prints what the namespace looks like, as JSON.
 */
import { execFileSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { Ledger } from '../../src/core/ledger.ts';
import { collectGarbage } from '../../src/core/ledger-gc.ts';
import { NetworkDevices } from '../../src/driver/qemu/runtime/network-device.ts';
import { QemuDriver } from '../../src/driver/qemu/runtime/qemu-driver.ts';
import { NETWORK_REMOVERS } from '../../src/guest/network-program.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';

const [what = '', dir = '', xml = ''] = process.argv.slice(2);
const request = { kind: 'tap', interfaceAlias: 'net0', queue: 0 } as const;

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** The taps of this namespace, as `ip` describes them. */
function taps(): unknown {
  return JSON.parse(ip('-j', '-d', 'link', 'show', 'type', 'tun'));
}

function devicesOf(ledger: Ledger): NetworkDevices {
  const { domain } = parseDomain(xml);
  const interfaces = domain.devices?.interfaces ?? [];
  for (const device of interfaces) device.alias ??= { name: 'net0' };
  return new NetworkDevices({ interfaces, ledger });
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

async function openAndClose(): Promise<void> {
  using ledger = Ledger.open(dir);
  const devices = devicesOf(ledger);
  const fds = [await devices.open(request), await devices.open({ ...request, queue: 1 })];
  const whileOpen = taps();
  const recorded = ledger.entries;
  for (const fd of fds) closeSync(fd);
  await devices[Symbol.asyncDispose]();
  print({ whileOpen, recorded, afterwards: taps(), stillRecorded: ledger.entries });
}

/** Two taps that a dead process is said to have left: one is its own, the other only has the name. */
async function collect(): Promise<void> {
  const dead = execFileSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).trim();
  const { owner } = Ledger.open(dir);
  using ledger = Ledger.open(dir, { ...owner, pid: Number(dead), startTime: '1' });
  const mac = 'fe:54:00:00:00:09';
  for (const name of ['left0', 'other0']) {
    ledger.record('tap', { name, mac });
    ip('tuntap', 'add', 'dev', name, 'mode', 'tap');
  }
  ip('link', 'set', 'left0', 'address', mac);
  const { removed, failed } = await collectGarbage({ dir, removers: NETWORK_REMOVERS });
  print({ removed: removed.map(({ line }) => line), failed: failed.map(({ line }) => line), taps: taps() });
}

async function refuse(): Promise<void> {
  using ledger = Ledger.open(dir);
  const message = await devicesOf(ledger)
    .open(request)
    .then(() => 'opened', String);
  print({ message, taps: taps(), recorded: ledger.entries });
}

async function runGuest(): Promise<void> {
  await using driver = await QemuDriver.open({ version: 'test' });
  const { uuid } = await driver.createXml(xml, {});
  const whileRunning = taps();
  const live = await driver.xmlDesc(uuid);
  await driver.destroy(uuid);
  print({
    whileRunning,
    live,
    afterwards: taps(),
    recorded: driver.root.ledgerOf('').ledger.entries.map(({ kind }) => kind),
  });
}

/** What the kernel holds the tap to after a change, both ways. */
async function limitsAfter(driver: QemuDriver, uuid: string, average: number): Promise<string> {
  const parameters = { 'inbound.average': average, 'outbound.average': average };
  await driver.tuning.setInterfaceParameters(uuid, 'vnet0', parameters, { live: true });
  return (
    show('tc', 'qdisc', 'show', 'dev', 'vnet0') +
    show('tc', 'class', 'show', 'dev', 'vnet0') +
    show('nft', 'list', 'ruleset')
  );
}

function show(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8' });
}

/** A tap that joins a running guest; its bus lets go of it without the guest's help. */
async function plug(): Promise<void> {
  await using driver = await QemuDriver.open({ version: 'test' });
  const bare = xml.replace(/<interface[^]*<\/interface>/, "<controller type='usb' model='qemu-xhci'/>");
  const device = /<interface[^]*<\/interface>/.exec(xml)?.[0] ?? '';
  const { uuid } = await driver.createXml(bare, {});
  await driver.devices.attachDevice(uuid, device, { live: true });
  const whilePlugged = taps();
  const limits = [
    await limitsAfter(driver, uuid, 100),
    await limitsAfter(driver, uuid, 200),
    await limitsAfter(driver, uuid, 0),
  ];
  const told = await driver.tuning.interfaceParameters(uuid, 'vnet0');
  const live = await driver.xmlDesc(uuid);
  const message = await driver.devices
    .attachDevice(uuid, device.replace('br0', 'br9').replace(':02', ':03'), { live: true })
    .then(() => 'attached', String);
  await driver.devices.detachDevice(uuid, device, { live: true });
  print({ whilePlugged, limits, told, live, message, afterwards: taps() });
}

ip('link', 'set', 'lo', 'up');
ip('link', 'add', 'br0', 'mtu', '1300', 'type', 'bridge');
ip('link', 'set', 'br0', 'up');
const actions = new Map(Object.entries({ openAndClose, collect, refuse, runGuest, plug }));
await actions.get(what)?.();
