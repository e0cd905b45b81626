/** A container of a shell line, for tests: definition, plan, runtime. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from '../../src/core/ledger.ts';
import { ContainerLinks } from '../../src/driver/lxc/host/container-links.ts';
import { LinkNames } from '../../src/driver/lxc/host/link-names.ts';
import type { ContainerFacts } from '../../src/driver/lxc/plan/container-context.ts';
import { planContainer } from '../../src/driver/lxc/plan/container-plan.ts';
import { planForeignRun } from '../../src/driver/lxc/plan/foreign.ts';
import type { ContainerEnd } from '../../src/driver/lxc/runtime/container.ts';
import { ContainerNurseries } from '../../src/driver/lxc/runtime/container-nurseries.ts';
import { containerPlaces } from '../../src/driver/lxc/runtime/container-places.ts';
import { EmbeddedContainer } from '../../src/driver/lxc/runtime/embedded-container.ts';
import { lookUpRuntime, readForeignFacts } from '../../src/driver/lxc/runtime/host-facts.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';

const NAMES = new LinkNames();
/** Limits that outlive a container are not what these tests are about. */
export const NO_LEDGER: Pick<Ledger, 'record'> = {
  record: (kind, identity) => ({ id: 0, kind, identity, done: () => {} }),
};

export interface Box extends AsyncDisposable {
  readonly initPid: number | undefined;
  readonly ended: Promise<ContainerEnd>;
  output(): string;
  /** Resolves when that was printed. */
  until(text: string): Promise<void>;
  /** Resolves when anything more was printed. */
  untilMore(): Promise<void>;
  /** To its console. */
  write(text: string): void;
  destroy(): Promise<ContainerEnd>;
  /** Of a container with a network of its own. */
  links(): ContainerLinks;
}

/** `rootfs`: a folder, or an image of a file system. */
export async function startBox(init: {
  folder: string;
  rootfs: string;
  line: string;
  devices?: string;
  rest?: string;
  /** Instead of a shell with that line: a program and its arguments. */
  init?: string;
  /** Of its programs, where it is not the host's. */
  arch?: string;
  facts?: Partial<ContainerFacts>;
  cgroupProcs?: readonly string[];
  /** By this process, as where there is no Perl, instead of coming out of a nursery. */
  forked?: boolean;
}): Promise<Box> {
  const { folder, rootfs, line, devices = '', rest = '', cgroupProcs } = init;
  const { domain } = parseDomain(
    `<domain type='lxc'><name>box</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
     <os><type${init.arch === undefined ? '' : ` arch='${init.arch}'`}>exe</type>${init.init === undefined ? '<init>/bin/sh</init><initarg>-c</initarg>' : initOf(init.init)}</os>${rest}
     <devices>${rootOf(rootfs)}${devices}</devices></domain>`,
  );
  if (init.init === undefined) domain.os?.initargs.push(line);
  const dir = mkdtempSync(join(folder, 'c'));
  const nurseries = new ContainerNurseries({
    outlived: false,
    placeOfSpare: () => ({ path: join(dir, 'spare'), onGone: () => {} }),
  });
  try {
    const mapped = domain.idmap !== undefined;
    const foreign = init.arch === undefined ? undefined : planForeignRun(init.arch, readForeignFacts());
    const own = BigInt(`0x${/CapBnd:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
    const places = containerPlaces(dir, { mapped });
    const runtime = lookUpRuntime() ?? '';
    const plan = planContainer(
      domain,
      {
        capabilities: mapped || foreign?.register !== undefined ? (1n << 38n) - 1n : own,
        idOf: () => undefined,
        deviceOf: () => undefined,
        initOf: () => undefined,
        foreign,
        ...init.facts,
      },
      { ...places, dev: init.forked === true ? undefined : places.devFolder },
    );
    const unified = '/sys/fs/cgroup/unified';
    let links: ContainerLinks | undefined;
    const box = await EmbeddedContainer.start(plan, {
      runtime,
      nurseries: init.forked === true || !nurseries.arePossible ? undefined : nurseries,
      id: 'box',
      dir,
      cgroupProcs,
      hiddenCgroup: existsSync(unified) ? unified : undefined,
      setUpNetwork: async (pid) => {
        links = new ContainerLinks({ pid, ledger: NO_LEDGER, names: NAMES });
        await links.connect(domain);
      },
    });
    const terminal = box.openConsole();
    let output = '';
    terminal.on('data', (data) => {
      output += String(data);
    });
    return {
      initPid: box.initPid,
      ended: box.ended,
      output: () => output,
      until: async (text) => {
        while (!output.includes(text)) await once(terminal, 'data');
      },
      untilMore: async () => {
        await once(terminal, 'data');
      },
      write: (text) => {
        terminal.write(text);
      },
      destroy: () => box.destroy(),
      links: () => {
        if (links === undefined) throw new Error('the container has no network of its own');
        return links;
      },
      [Symbol.asyncDispose]: async () => {
        await box[Symbol.asyncDispose]();
        await nurseries[Symbol.asyncDispose]();
        await links?.[Symbol.asyncDispose]();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await nurseries[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

function rootOf(path: string): string {
  const isFolder = statSync(path).isDirectory();
  const source = isFolder ? `dir='${path}'` : `file='${path}'`;
  return `<filesystem type='${isFolder ? 'mount' : 'file'}'><source ${source}/><target dir='/'/></filesystem>`;
}

function initOf(command: string): string {
  const [program = '', ...args] = command.split(' ');
  return `<init>${program}</init>${args.map((arg) => `<initarg>${arg}</initarg>`).join('')}`;
}
