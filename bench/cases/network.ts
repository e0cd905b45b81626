/** Virtual networks of our daemon beside libvirtd's, each in a network namespace of its own; each figure is our share of libvirtd's time. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Connection, connect } from '../../src/index.ts';
import { startDaemon } from '../../tests/support/daemon.ts';
import { hasLibvirtd, startLibvirtd } from '../../tests/support/libvirtd.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Result, shareRow } from '../figures.ts';
import { NESTLING, type Workplace } from '../workplace.ts';

const NETWORKS = 100;
const ADDRESS = '192.168.91.1';

/** A server under measurement, with the namespace that its networks are in. */
interface Side {
  readonly uri: string;
  readonly connection: Connection;
  readonly namespaceOf: number;
}

export const NETWORK: Bench = {
  name: 'network',
  summary: 'virtual networks of nestling daemon beside libvirtd: starts, definitions, lists',
  measure: async (place, { rounds }) => {
    if (!hasLibvirtd()) return [{ what: 'virtual networks', skipped: 'libvirtd is not installed' }];
    if (process.getuid?.() !== 0) return [{ what: 'virtual networks', skipped: 'needs root, for bridges' }];
    await using host = await openHost(place);
    await using daemon = await startDaemon([], { cli: host.cli });
    await using libvirtd = await startLibvirtd('', { ownNetwork: true });
    await using ours = await openSide(daemon.uri, host.pid);
    await using theirs = await openSide(libvirtd.uri, libvirtd.pid);
    const rows: Result[] = [];
    const compare = async (what: string, measure: (side: Side) => Promise<number>, count = rounds): Promise<void> => {
      const samples = await interleave(
        { ours: () => measure(ours), theirs: () => measure(theirs) },
        { rounds: count, warmUps: 2 },
      );
      rows.push(shareRow(what, { ...samples, goal: 100 }));
    };
    await compare('starting a NAT network, to the first name that its dnsmasq resolves', timeStart);
    await compare(`defining ${NETWORKS} networks`, timeDefine);
    await compare(`virsh net-list --all of ${NETWORKS} networks`, timeList);
    return rows;
  },
};

/** A network namespace that lasts, and our command in it. */
async function openHost(place: Workplace): Promise<{ cli: string; pid: number } & AsyncDisposable> {
  const holder: ChildProcess = spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up; echo; exec sleep 3600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (holder.stdout !== null) await once(holder.stdout, 'data');
  const pid = holder.pid ?? 0;
  const cli = join(place.folder('network'), 'cli');
  writeFileSync(cli, `#!/bin/sh\nexec nsenter --net=/proc/${pid}/ns/net ${NESTLING} "$@"\n`);
  chmodSync(cli, 0o755);
  return {
    cli,
    pid,
    [Symbol.asyncDispose]: async () => {
      holder.kill('SIGKILL');
      if (holder.signalCode === null) await once(holder, 'exit');
    },
  };
}

async function openSide(uri: string, namespaceOf: number): Promise<Side & AsyncDisposable> {
  const connection = await connect(uri);
  return { uri, connection, namespaceOf, [Symbol.asyncDispose]: () => connection.close() };
}

async function timeStart({ connection, namespaceOf }: Side): Promise<number> {
  const { networks } = connection;
  const xml = `<network><name>bench</name><forward mode='nat'/><dns><host ip='192.168.91.9'><hostname>there</hostname></host></dns>
    <ip address='${ADDRESS}' netmask='255.255.255.0'><dhcp><range start='192.168.91.2' end='192.168.91.254'/></dhcp></ip></network>`;
  const { uuid } = await networks.define(xml);
  const startedMs = performance.now();
  await networks.create(uuid);
  execFileSync('nsenter', ['-t', String(namespaceOf), '-n', 'busybox', 'nslookup', '-type=a', 'there', ADDRESS]);
  const elapsedMs = performance.now() - startedMs;
  await networks.destroy(uuid);
  await networks.undefine(uuid);
  return elapsedMs;
}

async function timeDefine({ connection }: Side): Promise<number> {
  const { networks } = connection;
  for (const { name, uuid } of await networks.list()) if (name.startsWith('many-')) await networks.undefine(uuid);
  const startedMs = performance.now();
  for (let index = 0; index < NETWORKS; index++) {
    const address = `10.${index}.0.1`;
    await networks.define(
      `<network><name>many-${index}</name><bridge name='many${index}'/><ip address='${address}' netmask='255.255.255.0'/></network>`,
    );
  }
  return performance.now() - startedMs;
}

async function timeList({ uri }: Side): Promise<number> {
  const startedMs = performance.now();
  const child = spawn('virsh', ['-c', uri, 'net-list', '--all'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`virsh net-list failed with status ${String(code)}`);
  return performance.now() - startedMs;
}
