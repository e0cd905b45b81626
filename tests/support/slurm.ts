/**
 * A Slurm cluster of this one host, on loopback, with its state in a folder: for tests of programs that srun starts. Needs root and the packages
 * munge, slurmctld, slurmd and slurm-client.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { pollUntil } from './poll.ts';

const PROGRAMS = ['munged', 'slurmctld', 'slurmd', 'srun'];

export class SlurmCluster implements AsyncDisposable {
  readonly configuration: string;
  readonly #daemons: ChildProcess[] = [];

  private constructor(folder: string) {
    this.configuration = join(folder, 'slurm.conf');
  }

  /** The programs that are missing. */
  static missing(): string[] {
    return PROGRAMS.filter((name) => spawnSync(name, ['--version']).error !== undefined);
  }

  /** Starts the cluster, and returns when its node takes jobs. `ports`: the first of two. */
  static async start(folder: string, port: number): Promise<SlurmCluster> {
    const cluster = new SlurmCluster(folder);
    const node = hostname().split('.')[0] ?? 'localhost';
    chmodSync(folder, 0o755);
    for (const name of ['state', 'spool']) mkdirSync(join(folder, name));
    writeFileSync(join(folder, 'munge.key'), randomBytes(1024), { mode: 0o400 });
    writeFileSync(cluster.configuration, configurationOf(folder, node, port));
    const at = (name: string): string => join(folder, name);
    const munge = [`--key-file=${at('munge.key')}`, `--socket=${at('munge.sock')}`, `--pid-file=${at('munge.pid')}`];
    const more = [`--log-file=${at('munge.log')}`, `--seed-file=${at('munge.seed')}`];
    try {
      cluster.#start('munged', ['--force', '--foreground', ...munge, ...more]);
      await pollUntil(() => existsSync(at('munge.sock')), 'Slurm is not ready');
      cluster.#start('slurmctld', ['-D', '-f', cluster.configuration]);
      cluster.#start('slurmd', ['-D', '-f', cluster.configuration, '-N', node]);
      await pollUntil(() => /idle/.test(cluster.#ask('sinfo', '-h', '-o', '%t')), 'Slurm is not ready');
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons.toReversed()) {
      if (daemon.exitCode !== null || daemon.signalCode !== null) continue;
      const ended = once(daemon, 'exit');
      daemon.kill('SIGKILL');
      await ended;
    }
  }

  #start(command: string, args: readonly string[]): void {
    const env = { ...process.env, SLURM_CONF: this.configuration };
    this.#daemons.push(spawn(command, args, { env, stdio: 'ignore' }));
  }

  #ask(command: string, ...args: string[]): string {
    const env = { ...process.env, SLURM_CONF: this.configuration };
    return spawnSync(command, args, { env, encoding: 'utf8' }).stdout;
  }
}

function configurationOf(folder: string, node: string, port: number): string {
  return `ClusterName=nestling
SlurmctldHost=${node}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=${port}
SlurmdPort=${port + 1}
AuthType=auth/munge
AuthInfo=socket=${folder}/munge.sock
CryptoType=crypto/munge
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=${node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes=${node} Default=YES State=UP
`;
}
