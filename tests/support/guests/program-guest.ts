/**
 * A Linux test guest that runs our programs: booted by Nestling itself, it takes commands over its console, so that one boot serves many
 * tests. What kind of Linux it is, is its initramfs's business: see `v2-guest.ts` and `systemd-guest.ts`.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Connection, connect, type Domain } from '../../../src/index.ts';
import { bundleScript } from '../bundle.ts';
import { domainXml } from '../domain-xml.ts';
import { StreamText } from '../until.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { LINUX_GUEST_CMDLINE, linuxGuest } from './linux-guest.ts';

const READY = 'nestling session ready\n';
/** These guests are emulated: beside seven other programs on two cores they take ten times as long as alone. Only what hangs comes to it. */
const BOOT_PATIENCE_MS = 400_000;
const RUN_PATIENCE_MS = 240_000;
/** For the tests: what is above, with time to tell of it. */
export const GUEST_TIMEOUTS = { hookTimeout: BOOT_PATIENCE_MS + 20_000, testTimeout: 2 * RUN_PATIENCE_MS };
const SECTOR_BYTES = 512;

export interface ProgramGuestOptions {
  readonly name: string;
  /** TypeScript entries; inside they are `/programs/NAME.mjs`. */
  readonly programs: readonly URL[];
  /** More files in `/programs`, by name. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** Where the programs' disk is written. */
  readonly directory: string;
  readonly memoryMiB?: number;
}

/** What makes one kind of guest. */
export interface ProgramGuestKind {
  /** Disks before the one with the programs, read-only: `/dev/vda`, … */
  readonly images: readonly string[];
  readonly modules: readonly string[];
  /** Of the initramfs. */
  readonly files: Readonly<Record<string, string>>;
  readonly cmdline: string;
}

export interface RunResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The script that answers over the console, for the guests' initramfs. */
export function sessionScript(): string {
  return guestScript('program-session.sh');
}

export function guestScript(name: string): string {
  return readFileSync(new URL(name, import.meta.url), 'utf8');
}

export class ProgramGuest implements AsyncDisposable {
  readonly domain: Domain;
  readonly #connection: Connection;
  readonly #console: StreamText;
  #runs = 0;
  /** Commands run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(connection: Connection, domain: Domain) {
    this.#connection = connection;
    this.domain = domain;
    this.#console = new StreamText(domain.console().stream());
  }

  /** Boots it and resolves when it takes commands. */
  static async start(kind: ProgramGuestKind, options: ProgramGuestOptions): Promise<ProgramGuest> {
    const disk = join(options.directory, `${options.name}-programs.cpio`);
    await writeFile(disk, await programsDisk(options));
    const linux = await linuxGuest({ modules: kind.modules, files: kind.files });
    const xml = domainXml({
      name: options.name,
      memoryMiB: options.memoryMiB ?? 1024,
      vcpus: 2,
      ...linux,
      cmdline: `${LINUX_GUEST_CMDLINE} loglevel=1 ${kind.cmdline}`,
      disks: [...kind.images, disk].map((path) => ({ path, readonly: true })),
      devices: "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    });
    const connection = await connect('qemu:///embed');
    try {
      const guest = new ProgramGuest(connection, await connection.createDomain(xml));
      await guest.#console.until(READY, { signal: AbortSignal.timeout(BOOT_PATIENCE_MS) });
      return guest;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Runs a command with the guest's shell. */
  async run(command: string, { timeoutMs = RUN_PATIENCE_MS } = {}): Promise<RunResult> {
    const turn = this.#last.then(() => this.#runNow(command, timeoutMs));
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  /** Runs one of the programs, below `prefix` (`box NAME`), and returns what it printed as JSON; stderr and a status are errors. */
  async runProgram(name: string, args: readonly string[] = [], prefix = ''): Promise<unknown> {
    const command = `${prefix} node /programs/${name}.mjs ${args.join(' ')}`.trim();
    const { status, stdout, stderr } = await this.run(command);
    if (status !== 0 || stderr !== '') throw new Error(`in the guest, ${command}: exit ${status}\n${stderr}${stdout}`);
    const parsed: unknown = JSON.parse(stdout);
    return parsed;
  }

  async #runNow(command: string, timeoutMs: number): Promise<RunResult> {
    if (command.includes('\n')) throw new TypeError('a command is one line');
    const id = ++this.#runs;
    await this.domain.console().write(`${id} ${command}\n`);
    const answer = await this.#console.until(new RegExp(`^@${id} .*\n`, 'm'), {
      signal: AbortSignal.timeout(timeoutMs),
    });
    const match = /@\d+ (\d+) (\S*) (\S*)\n$/.exec(answer);
    if (match === null) throw new Error(`the guest's answer to '${command}' is not one: ${answer}`);
    const [status = '', stdout = '', stderr = ''] = match.slice(1);
    return { status: Number(status), stdout: fromBase64(stdout), stderr: fromBase64(stderr) };
  }

  /** Powers off. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (await this.domain.isActive()) {
        await this.domain.console().write('0 poweroff\n');
        await this.domain.waitForStop({ signal: AbortSignal.timeout(20_000) });
      }
    } finally {
      await this.#connection.close();
    }
  }
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString();
}

/** An archive on a bare disk, which the guest unpacks. */
async function programsDisk({ programs, files = {} }: ProgramGuestOptions): Promise<Buffer> {
  const bundles = await Promise.all(
    programs.map(async (entry): Promise<CpioEntry> => {
      const content = readFileSync(await bundleScript(entry.pathname, { external: ['koffi'] }));
      return { path: `${basename(entry.pathname, '.ts')}.mjs`, type: 'file', content };
    }),
  );
  const others = Object.entries(files).map(([path, content]): CpioEntry => ({ path, type: 'file', content }));
  const archive = writeCpio([...bundles, ...others]);
  return Buffer.concat([archive, Buffer.alloc((SECTOR_BYTES - (archive.length % SECTOR_BYTES)) % SECTOR_BYTES)]);
}
