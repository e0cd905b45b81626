/** A container of a shell line, for tests: definition, plan, runtime. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { planContainerNetwork } from '../../src/driver/lxc/plan/container-network.ts';
import { planContainer } from '../../src/driver/lxc/plan/container-plan.ts';
import {
  type ContainerEnd,
  containerPlaces,
  EmbeddedContainer,
} from '../../src/driver/lxc/runtime/embedded-container.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { readIp, runIpBatch } from '../../src/network/bridge/ip-command.ts';

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
}

export async function startBox(init: {
  folder: string;
  rootfs: string;
  line: string;
  devices?: string;
  rest?: string;
}): Promise<Box> {
  const { folder, rootfs, line, devices = '', rest = '' } = init;
  const { domain } = parseDomain(
    `<domain type='lxc'><name>box</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
     <os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg></os>${rest}
     <devices><filesystem type='mount'><source dir='${rootfs}'/><target dir='/'/></filesystem>${devices}</devices></domain>`,
  );
  domain.os?.initargs.push(line);
  const dir = mkdtempSync(join(folder, 'c'));
  try {
    const mapped = domain.idmap !== undefined;
    const own = BigInt(`0x${/CapBnd:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
    const plan = planContainer(
      domain,
      {
        capabilities: mapped ? (1n << 38n) - 1n : own,
        idOf: () => undefined,
        deviceOf: () => undefined,
        initOf: () => undefined,
      },
      containerPlaces(dir, { mapped }),
    );
    const unified = '/sys/fs/cgroup/unified';
    const box = await EmbeddedContainer.start(plan, {
      runtime: 'crun',
      id: 'box',
      dir,
      hiddenCgroup: existsSync(unified) ? unified : undefined,
      setUpNetwork: async (pid) => {
        // Not /sys/class/net, which shows the namespace that it was mounted in.
        const links = (await readIp(['link'])) as { ifname: string }[];
        const names = new Set(links.map(({ ifname }) => ifname));
        const freeName = (prefix: string): string => {
          const name = Array.from({ length: 1000 }, (_, index) => `${prefix}${index}`).find((one) => !names.has(one));
          if (name === undefined) throw new RangeError('no name is free');
          names.add(name);
          return name;
        };
        const { host, inside } = planContainerNetwork(domain, { pid, attachmentOf: () => undefined, freeName });
        await runIpBatch(host);
        await runIpBatch(inside, undefined, { namespaceOf: pid });
      },
    });
    let output = '';
    box.console.on('data', (data) => {
      output += String(data);
    });
    return {
      initPid: box.initPid,
      ended: box.ended,
      output: () => output,
      until: async (text) => {
        while (!output.includes(text)) await once(box.console, 'data');
      },
      untilMore: async () => {
        await once(box.console, 'data');
      },
      write: (text) => {
        box.console.write(text);
      },
      destroy: () => box.destroy(),
      [Symbol.asyncDispose]: async () => {
        await box[Symbol.asyncDispose]();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}
