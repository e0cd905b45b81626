/**
 * Images of one container that are block devices for as long as it runs. Each has a helper that outlives this process: it ends when nobody uses its
 * device any more, and not before all is written. What the helper does is planned in `plan/image-export.ts`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal } from '../../../core/abort.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Ledger, LedgerEntry } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import { readProcStat } from '../../../process/proc.ts';
import { runCommand } from '../../../process/run-command.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { type ImageServers, type ImageSource, imagePlaces, planImageExport } from '../plan/image-export.ts';
import type { PreparedMount } from '../plan/mounts.ts';

const log = new LogSource('lxc.lxc_process');

/** How long taking an image away waits for what still uses it. */
const PATIENCE_MS = 5000;

export interface ImageExportsInit {
  /** The container's own folder. */
  readonly dir: string;
  readonly ledger: Pick<Ledger, 'record'>;
}

interface Export {
  readonly helper: ChildHandle;
  readonly entry: LedgerEntry | undefined;
}

export class ImageExports implements AsyncDisposable {
  readonly #init: ImageExportsInit;
  readonly #exports = new Map<string, Export>();

  constructor(init: ImageExportsInit) {
    this.#init = init;
  }

  /**
   * `name`: one for each place in the container.
   * @returns the block device @throws VirtError CONFIG_UNSUPPORTED where nothing serves such images; INTERNAL_ERROR with the server's words
   */
  async add(name: string, image: ImageSource, signal?: AbortSignal): Promise<string> {
    const { dir, ledger } = this.#init;
    const planned = planImageExport(image, findImageServers(), imagePlaces(dir, name));
    let entry: LedgerEntry | undefined;
    const helper = await spawnChild(
      { ...planned, stdio: ['pipe', 'pipe', 'tail'], newSession: true },
      {
        signal,
        beforeExec: (pid) => {
          const startTime = readProcStat(pid)?.startTime;
          if (startTime !== undefined) entry = ledger.record('helper', { pid, startTime });
        },
      },
    );
    this.#exports.set(name, { helper, entry });
    try {
      const device = await firstLine(helper, image, signal);
      log.info('add', () => `${image.file} (${image.format}) is ${device}, kept by process ${helper.pid}`);
      return device;
    } catch (error) {
      await this.remove(name);
      throw error;
    }
  }

  /** What is to be mounted, with devices in place of images. @throws what `add` throws */
  async openAll(prepared: readonly PreparedMount[], signal?: AbortSignal): Promise<PreparedMount[]> {
    const open = async (mount: PreparedMount): Promise<PreparedMount> => {
      const { kind, source: file, format = 'raw', readonly, at } = mount;
      if (kind !== 'image') return mount;
      return { kind: 'device', source: await this.add(String(at), { file, format, readonly }, signal), readonly, at };
    };
    // One that is opened yet must be known before all are taken back.
    const opened = await Promise.allSettled(prepared.map(open));
    return opened.map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
  }

  /** Whoever uses the device keeps it; resolves when nobody does, or after a while. Without an image of that name: nothing. */
  async remove(name: string): Promise<void> {
    const found = this.#exports.get(name);
    if (found === undefined) return;
    this.#exports.delete(name);
    found.helper.writable(0).end();
    const patience = new AbortController();
    const gone = found.helper.exited.then(() => found.entry?.done());
    // It rejects when it is no longer waited for.
    const late = pause(PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => {});
    await Promise.race([gone, late]);
    patience.abort();
  }

  /** They stay for as long as they are used, without this process. */
  release(): void {
    for (const { helper } of this.#exports.values()) helper.release();
    this.#exports.clear();
  }

  /** Once the container has ended: waits until all is written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#exports.keys()].map((name) => this.remove(name)));
  }
}

/** Kind of the file system on a block device. @throws VirtError CONFIG_UNSUPPORTED where there is none */
export async function fileSystemOn(device: string, shown: string, signal?: AbortSignal): Promise<string> {
  const args = ['--probe', '--usages', 'filesystem', '--match-tag', 'TYPE', '--output', 'value', device];
  const { stdout, stderr } = await runCommand('blkid', args, { signal });
  const type = stdout.trim();
  if (type !== '') return type;
  throw new VirtError(
    `unsupported configuration: ${shown} has no file system that can be mounted${stderr.trim() === '' ? '' : `: ${stderr.trim()}`}`,
    { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC },
  );
}

/** What of this host serves images. */
export function findImageServers(): ImageServers {
  return {
    storageDaemon: existsSync('/dev/fuse') ? lookUpProgram('qemu-storage-daemon') : undefined,
    // Where it is a module that is not loaded, the helper loads it.
    nbd: existsSync('/sys/block/nbd0') || hasNbdModule() ? lookUpProgram('qemu-nbd') : undefined,
  };
}

/** One line for each module that was built with this kernel (kmod's modules.dep). */
function hasNbdModule(): boolean {
  const list = `/lib/modules/${release()}/modules.dep`;
  return existsSync(list) && /\/nbd\.ko\S*:/.test(readFileSync(list, 'utf8'));
}

async function firstLine(helper: ChildHandle, { file }: ImageSource, signal: AbortSignal | undefined): Promise<string> {
  const { createInterface } = await import('node:readline');
  const lines = createInterface({ input: helper.readable(1) });
  const line = new Promise<string | undefined>((resolve) => {
    lines.once('line', resolve);
    lines.once('close', () => resolve(undefined));
  });
  try {
    const device = await raceSignal(line, signal);
    if (device !== undefined) return device;
  } finally {
    lines.close();
  }
  const { stderrTail } = await raceSignal(helper.exited, signal);
  // The option that it stands in is ours, and long.
  const why = (stderrTail.trim().split('\n')[0] ?? '').replace(/--\w+ \{.*\}: /, '');
  throw new VirtError(`cannot open the image ${file}: ${why || 'its server does not say why'}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.LXC,
  });
}
